"""CARAFE."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv import ops
from torch.autograd import gradcheck


def reassemble(features, masks, kernel_size, group_size, scale_factor):
    images, channels, height, width = features.shape
    result = np.zeros((images, channels, height * scale_factor, width * scale_factor))
    for n, c, y, x in np.ndindex(*result.shape):
        group = c * group_size // channels
        for i, j in np.ndindex(kernel_size, kernel_size):
            row = y // scale_factor + i - kernel_size // 2
            column = x // scale_factor + j - kernel_size // 2
            if 0 <= row < height and 0 <= column < width:
                kernel = masks[n, (group * kernel_size + i) * kernel_size + j, y, x]
                result[n, c, y, x] += features[n, c, row, column] * kernel
    return result


@given(
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2, 3]),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_carafe_as_a_loop(kernel_size, group_size, scale_factor, size):
    geometry = (kernel_size, group_size, scale_factor)
    features = torch.randn(2, 4, *size, dtype=torch.float64)
    upsampled = [scale_factor * side for side in size]
    masks = torch.randn(2, group_size * kernel_size**2, *upsampled, dtype=torch.float64)
    expected = reassemble(features.numpy(), masks.numpy(), *geometry)
    np.testing.assert_allclose(ops.carafe(features, masks, *geometry), expected, atol=1e-12)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_carafe_gradient(random, device, memory_format):
    leaves = [random(1, 4, 3, 2), random(1, 18, 6, 4)]
    leaves = [leaf.detach().to(device, memory_format=memory_format) for leaf in leaves]
    kernel_size, group_size, scale_factor = 3, 2, 2

    def carafe(*leaves):
        return ops.carafe(*leaves, kernel_size, group_size, scale_factor)

    assert gradcheck(carafe, [leaf.requires_grad_() for leaf in leaves], fast_mode=True)
