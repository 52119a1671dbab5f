_base_ = 'cascade_rcnn_se_r50.py'
model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='mmpretrain/se_resnet101')))
