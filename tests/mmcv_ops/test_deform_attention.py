"""Multi-scale deformable attention.

On CPU tensors mmcv's layer computes it in plain torch; the operator serves the layer on CUDA ones.
"""

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from torch.autograd import gradcheck

IM2COL_STEP = 64


def attend(value, shapes, locations, weights):
    areas = shapes.prod(1)
    starts = areas.cumsum(0) - areas
    arguments = (value, shapes, starts, locations, weights, IM2COL_STEP)
    return MultiScaleDeformableAttnFunction.apply(*arguments)


def test_multi_scale_deformable_attention_as_recorded(golden, assert_close):
    case = golden('msda')
    assert_close(multi_scale_deformable_attn_pytorch(case.v, case.sh, case.l, case.a), case.y)
    assert_close(attend(case.v, case.sh, case.l, case.a), case.y)


def sample(plane, y, x):
    """A feature map interpolated at a point, 0 outside, from its four neighbours."""
    height, width = plane.shape[:2]
    result = 0
    for row in (int(y // 1), int(y // 1) + 1):
        for column in (int(x // 1), int(x // 1) + 1):
            if 0 <= row < height and 0 <= column < width:
                result = result + plane[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return result


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_multi_scale_deformable_attention_as_a_loop(sizes, heads, queries, points):
    shapes = torch.tensor(sizes)
    value = torch.randn(2, shapes.prod(1).sum(), heads, 3, dtype=torch.float64)
    locations = 1.5 * torch.rand(2, queries, heads, len(sizes), points, 2).double() - 0.25
    weights = torch.rand(2, queries, heads, len(sizes), points, dtype=torch.float64)
    expected = torch.zeros(2, queries, heads, 3, dtype=torch.float64)
    start = 0
    for level, (height, width) in enumerate(sizes):
        maps = value[:, start : start + height * width].unflatten(1, (height, width))
        start += height * width
        for n, q, h, p in torch.cartesian_prod(*map(torch.arange, (2, queries, heads, points))):
            x, y = (locations[n, q, h, level, p] * torch.tensor([width, height]) - 0.5).tolist()
            expected[n, q, h] += weights[n, q, h, level, p] * sample(maps[n, :, :, h], y, x)
    torch.testing.assert_close(attend(value, shapes, locations, weights), expected.flatten(2))


def test_multi_scale_deformable_attention_gradient(random, device):
    shapes = torch.tensor([[3, 4], [2, 2]], device=device)
    leaves = [random(2, 16, 2, 3), 1.5 * random(2, 3, 2, 2, 2, 2) - 0.25, random(2, 3, 2, 2, 2)]
    leaves = [leaf.detach().to(device).requires_grad_() for leaf in leaves]
    assert gradcheck(lambda v, locations, w: attend(v, shapes, locations, w), leaves)
