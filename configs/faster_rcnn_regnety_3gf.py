_base_ = 'faster_rcnn_se_r50_ra2_adamw.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='SERegNet',
        arch='regnety_3.2gf',
        frozen_stages=1,
        init_cfg=dict(type='SEPretrained', checkpoint='timm/regnety_032.ra_in1k'),
    ),
    neck=dict(in_channels=[72, 216, 576, 1512]),
)
