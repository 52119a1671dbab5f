"""Corner pooling: plain torch in mmcv, without an operator of the extension."""

import pytest
from mmcv import ops


@pytest.mark.parametrize('side', ['top', 'bottom', 'left', 'right'])
def test_corner_pool_as_recorded(golden, assert_results_and_gradients, side):
    case = golden(f'corner_{side}')
    result = ops.CornerPool(side)(case.x.requires_grad_())
    assert_results_and_gradients(result, case.y, [case.x], [case.gx])
