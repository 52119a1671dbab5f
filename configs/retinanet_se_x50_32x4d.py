_base_ = 'retinanet_se_r50.py'
model = dict(
    backbone=dict(
        type='SEResNeXt',
        depth=50,
        groups=32,
        base_width=4,
        init_cfg=dict(checkpoint='timm/seresnext50_32x4d.gluon_in1k'),
    )
)
