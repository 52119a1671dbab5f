"""Deformable convolution, versions 1 and 2."""

import pytest
import torch
import torch.nn.functional as F
from mmcv import ops
from mmdet.models.necks import DyHead
from torch.autograd import gradcheck


def test_deform_conv2d_as_recorded(golden, assert_results_and_gradients):
    case = golden('deform')
    inputs = [t.requires_grad_() for t in (case.x, case.off, case.w)]
    stride, padding, dilation, groups, deform_groups = 2, 1, 1, 2, 2
    result = ops.deform_conv2d(*inputs, stride, padding, dilation, groups, deform_groups)
    assert_results_and_gradients(result, case.y, inputs, [case.gx, case.go, case.gw])


def test_modulated_deform_conv2d_as_recorded(golden, assert_results_and_gradients):
    case = golden('mdeform')
    inputs = [t.requires_grad_() for t in (case.x, case.off, case.m, case.w, case.b)]
    stride, padding = 1, 1
    result = ops.modulated_deform_conv2d(*inputs, stride, padding)
    gradients = [case.gx, case.go, case.gm, case.gw, case.gb]
    assert_results_and_gradients(result, case.y, inputs, gradients)


UNEVEN = (2, 1), (1, 2), (1, 2), 2  # stride, padding, dilation, groups
DEFORM_GROUPS = 2


def test_deform_conv2d_of_uneven_geometry(random):
    x, offset, weight = random(2, 2, 6, 7), random(2, 24, 3, 9), random(4, 1, 3, 2)

    def convolve(*tensors):
        return ops.deform_conv2d(*tensors, *UNEVEN, DEFORM_GROUPS)

    unmoved = convolve(x, torch.zeros_like(offset), weight)
    torch.testing.assert_close(unmoved, F.conv2d(x, weight, None, *UNEVEN))
    assert gradcheck(convolve, (x, offset, weight), fast_mode=True)


@pytest.mark.parametrize('with_bias', [True, False])
def test_modulated_deform_conv2d_of_uneven_geometry(random, with_bias):
    x, offset, mask = random(2, 2, 6, 7), random(2, 24, 3, 9), random(2, 12, 3, 9)
    weight, bias = random(4, 1, 3, 2), random(4) if with_bias else None

    def convolve(*tensors):
        return ops.modulated_deform_conv2d(*tensors, *UNEVEN, DEFORM_GROUPS)

    halved = convolve(x, torch.zeros_like(offset), torch.full_like(mask, 0.5), weight, bias)
    torch.testing.assert_close(halved, F.conv2d(x, weight / 2, bias, *UNEVEN))
    assert gradcheck(convolve, (x, offset, mask, weight, bias), fast_mode=True)


def test_deform_conv2d_treats_nan_offsets_as_outside(random, device):
    x, weight = (leaf.to(device) for leaf in (random(1, 2, 6, 7), random(4, 2, 3, 3)))
    offset = torch.zeros(1, 18, 4, 5, dtype=torch.float64, device=device)
    nowhere, far = offset.clone(), offset.clone()
    nowhere[0, 4:8], far[0, 4:8] = torch.nan, 1000
    mask = torch.ones_like(offset[:, ::2])
    for convolve in (
        lambda offset: ops.deform_conv2d(x, offset, weight),
        lambda offset: ops.modulated_deform_conv2d(x, offset, mask, weight, None),
    ):
        results = [convolve(place) for place in (nowhere, far)]
        torch.testing.assert_close(*results)
        grads = [torch.autograd.grad(result.sum(), [x, weight]) for result in results]
        torch.testing.assert_close(*grads)


def test_modulated_deform_conv2d_reads_the_first_values_of_a_larger_offset(random):
    x, weight = random(2, 2, 3, 4), random(2, 2, 3, 3)
    offset, mask = random(2, 18, 6, 8), random(2, 9, 6, 8)

    def convolve(x, offset, mask):
        return ops.modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1)

    as_read = (
        offset.reshape(2, -1)[:, : 18 * 3 * 4].view(2, 18, 3, 4),
        mask.reshape(2, -1)[:, : 9 * 3 * 4].view(2, 9, 3, 4),
    )
    torch.testing.assert_close(convolve(x, offset, mask), convolve(x, *as_read))
    assert gradcheck(convolve, (x, offset, mask), fast_mode=True)


@pytest.mark.filterwarnings('ignore:In MMCV v1.4.4:UserWarning')
def test_dyhead_shares_an_offset_between_levels_of_different_sizes():
    neck = DyHead(16, 16, num_blocks=2, zero_init_offset=False)
    levels = [torch.randn(2, 16, size, size, requires_grad=True) for size in (8, 4, 2)]
    outputs = neck(levels)
    assert [output.shape for output in outputs] == [level.shape for level in levels]
    sum(output.square().sum() for output in outputs).backward()
    assert all(level.grad.abs().sum() > 0 for level in levels)
