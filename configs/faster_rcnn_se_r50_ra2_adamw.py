_base_ = 'faster_rcnn_se_r50.py'
# Weights of a strong recipe lose AP when SGD fine-tunes them (mmdetection#8497).
model = dict(backbone=dict(init_cfg=dict(checkpoint='timm/seresnet50.ra2_in1k')))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bypass_duplicate=True),
)
