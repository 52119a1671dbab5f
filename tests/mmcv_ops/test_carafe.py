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


GEOMETRY = 3, 2, 2  # kernel size, groups, scale factor


def test_carafe_gradient(random, device):
    leaves = [random(1, 4, 3, 2), random(1, 18, 6, 4)]
    leaves = [leaf.detach().to(device).requires_grad_() for leaf in leaves]
    assert gradcheck(lambda *leaves: ops.carafe(*leaves, *GEOMETRY), leaves)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_carafe_pack_upsamples_and_learns(device, memory_format):
    layer = ops.CARAFEPack(channels=6, scale_factor=2, up_group=2, compressed_channels=4)
    layer = layer.to(device=device, memory_format=memory_format)
    features = torch.rand(2, 6, 7, 5, device=device).to(memory_format=memory_format)
    features.requires_grad_()
    upsampled = layer(features)
    assert upsampled.shape == (2, 6, 14, 10)
    # The kernels are from a softmax: inside, an output pixel is a weighted mean of its window.
    assert upsampled.min() > 0
    assert upsampled.max() < 1
    upsampled.square().sum().backward()
    assert features.grad.abs().sum() > 0
    assert layer.content_encoder.weight.grad.abs().sum() > 0
