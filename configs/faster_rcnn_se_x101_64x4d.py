_base_ = 'faster_rcnn_se_r50.py'
model = dict(
    backbone=dict(
        type='SEResNeXt',
        depth=101,
        groups=64,
        base_width=4,
        init_cfg=dict(checkpoint='timm/seresnext101_64x4d.gluon_in1k'),
    )
)
