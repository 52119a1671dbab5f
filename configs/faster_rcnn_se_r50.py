_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['se_det'])
model = dict(
    backbone=dict(
        type='SEResNet',
        init_cfg=dict(_delete_=True, type='SEPretrained', checkpoint='mmpretrain/se_resnet50'),
    )
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best='auto'))
