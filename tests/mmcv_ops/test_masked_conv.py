"""Masked convolution."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv import ops

pytestmark = pytest.mark.filterwarnings('ignore:This overload of addmm:UserWarning')  # mmcv's call


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.floats(0, 1),
)
def test_masked_convolution_is_the_convolution_where_the_mask_is_set(kernel, padding, share):
    layer = ops.MaskedConv2d(3, 4, kernel, padding=padding).double()
    features = torch.randn(1, 3, 7, 8, dtype=torch.float64)
    everywhere = layer(features)
    height, width = everywhere.shape[2:]
    mask = torch.zeros(1, 7, 8)  # mmcv gives it the size of the input, not of the output
    mask[:, :height, :width] = torch.rand(1, height, width)[:, :7, :8] < share
    seen = torch.zeros(1, height, width)
    seen[:, :7, :8] = mask[:, :height, :width]
    torch.testing.assert_close(layer(features, mask), everywhere * seen[:, None])


def test_masked_convolution_on_each_device(device):
    layer = ops.MaskedConv2d(4, 2, 3, padding=1).to(device)
    features = torch.randn(1, 4, 9, 10, device=device)
    mask = torch.rand(1, 9, 10, device=device) < 0.3
    torch.testing.assert_close(layer(features, mask), layer(features) * mask[:, None])
