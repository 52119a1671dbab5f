# The paper's design space (its tables 10 to 15 and section 7.1) on drawn shapes, and two successors
# of SE. The first arm is the paper's choice. Last norms start at 1, as shapes_gate_start found.
_base_ = 'shapes_scratch.py'

_choices = dict(
    se=dict(),
    se_reduction_2=dict(reduction=2),  # table 10
    se_reduction_4=dict(reduction=4),
    se_reduction_8=dict(reduction=8),
    se_reduction_32=dict(reduction=32),
    se_squeeze_max=dict(squeeze='max'),  # table 11
    se_gate_relu=dict(gate='relu'),  # table 12
    se_gate_tanh=dict(gate='tanh'),
    se_stage_2=dict(stages=(True, False, False, False)),  # table 13 leaves out the last stage
    se_stage_3=dict(stages=(False, True, False, False)),
    se_stage_4=dict(stages=(False, False, True, False)),
    se_stages_2_to_4=dict(stages=(True, True, True, False)),
    se_pre=dict(position='pre'),  # table 14
    se_post=dict(position='post'),
    se_identity=dict(position='identity'),
    se_inside_3x3=dict(position='3x3'),  # table 15
    se_no_squeeze=dict(squeeze=None),  # section 7.1
    se_type_eca=dict(type='ECA'),
    se_type_ese=dict(type='eSE'),
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
