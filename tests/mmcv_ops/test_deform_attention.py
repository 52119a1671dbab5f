"""Multi-scale deformable attention."""

from mmcv import ops


def test_multi_scale_deformable_attention_as_recorded(golden, assert_close):
    case = golden('msda')
    attend = ops.multi_scale_deform_attn.multi_scale_deformable_attn_pytorch
    assert_close(attend(case.v, case.sh, case.l, case.a), case.y)
