_base_ = 'faster_rcnn_se_r50.py'
# The public SE-R152 has the caffe style and a stem pool in ceil mode, but expects RGB images.
model = dict(
    backbone=dict(
        depth=152,
        style='caffe',
        stem_pool='ceil',
        init_cfg=dict(checkpoint='timm/legacy_seresnet152.in1k'),
    )
)
