_base_ = 'faster_rcnn_se_r50_2x.py'
model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='mmpretrain/se_resnet101')))
