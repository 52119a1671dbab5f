# The paper's design space (its tables 10 to 15 and section 7.1) on drawn shapes, and two successors
# of SE. The first arm is the paper's choice. Last norms start at 1, as shapes_gate_start found.
_base_ = 'shapes_scratch.py'

_choices = dict(
    se=dict(),
    reduction_2=dict(reduction=2),  # table 10
    reduction_4=dict(reduction=4),
    reduction_8=dict(reduction=8),
    reduction_32=dict(reduction=32),
    squeeze_max=dict(squeeze='max'),  # table 11
    gate_relu=dict(gate='relu'),  # table 12
    gate_tanh=dict(gate='tanh'),
    stage_2=dict(stages=(True, False, False, False)),  # table 13 leaves out the last stage
    stage_3=dict(stages=(False, True, False, False)),
    stage_4=dict(stages=(False, False, True, False)),
    stages_2_to_4=dict(stages=(True, True, True, False)),
    pre=dict(position='pre'),  # table 14
    post=dict(position='post'),
    identity=dict(position='identity'),
    inside_3x3=dict(position='3x3'),  # table 15
    no_squeeze=dict(squeeze=None),  # section 7.1
    eca=dict(type='ECA'),
    ese=dict(type='eSE'),
)
arms = dict(
    _delete_=True,
    **{
        arm: dict(
            config='configs/faster_rcnn_se_r50_shapes.py',
            cfg_options={
                'model.backbone.se_cfg': choice,
                'model.backbone.zero_init_residual': False,
            },
        )
        for arm, choice in _choices.items()
    },
)
