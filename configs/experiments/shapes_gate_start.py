# D. How the gate starts. MMDetection's ResNets start with a last norm of zero in each residual
# branch (zero_init_residual), SE with gates of 1/2. Doubling that norm, as grafting does, needs one
# that is not zero: it is 2 here, and the plain control's is 1, as in the longer trainings.
_base_ = 'shapes_scratch.py'

_plain = 'configs/faster_rcnn_r50_shapes.py'
_se = 'configs/faster_rcnn_se_r50_shapes.py'
_usual = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
]
_gate_near_1 = dict(init_cfg=[*_usual, dict(type='ResidualStart', gate_bias=3.0)])
_last_norm_2 = dict(init_cfg=[*_usual, dict(type='ResidualStart', last_norm=2.0)])
_last_norm_1 = {'model.backbone.zero_init_residual': False}
_twice_as_long = {
    **_last_norm_1,
    'train_cfg.max_epochs': 10,
    'train_cfg.val_interval': 10,
    'param_scheduler.1.T_max': 10,
    'param_scheduler.1.end': 10,
}
arms = dict(
    se_gate_near_1=dict(config=_se, cfg_options=dict(model=dict(backbone=_gate_near_1))),
    se_last_norm_2=dict(config=_se, cfg_options=dict(model=dict(backbone=_last_norm_2))),
    plain_last_norm_1=dict(config=_plain, cfg_options=_last_norm_1),
    se_last_norm_1=dict(config=_se, cfg_options=_last_norm_1),
    se_stages_2_to_4=dict(
        config=_se,
        cfg_options={'model.backbone.se_cfg': dict(stages=(True, True, True, False))},
    ),
    plain_10_epochs=dict(config=_plain, cfg_options=_twice_as_long),
    se_10_epochs=dict(config=_se, cfg_options=_twice_as_long),
)
comparisons = [
    ('plain', 'se'),
    ('plain', 'se_gate_near_1'),
    ('se', 'se_gate_near_1'),
    ('plain', 'plain_last_norm_1'),
    ('se', 'se_last_norm_2'),
    ('plain_last_norm_1', 'se_last_norm_1'),
    ('plain_last_norm_1', 'se_last_norm_2'),
    ('plain', 'se_stages_2_to_4'),
    ('plain_10_epochs', 'se_10_epochs'),
]
