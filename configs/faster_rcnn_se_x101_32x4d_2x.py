_base_ = 'faster_rcnn_se_r50_2x.py'
model = dict(
    backbone=dict(
        type='SEResNeXt',
        depth=101,
        groups=32,
        base_width=4,
        init_cfg=dict(checkpoint='timm/seresnext101_32x4d.gluon_in1k'),
    )
)
