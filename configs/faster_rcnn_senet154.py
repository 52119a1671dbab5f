_base_ = 'faster_rcnn_se_r50.py'
model = dict(
    backbone=dict(
        type='SENet',
        depth=154,
        stem_pool='ceil',
        init_cfg=dict(checkpoint='timm/legacy_senet154.in1k'),
    )
)
