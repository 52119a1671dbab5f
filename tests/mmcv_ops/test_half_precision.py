"""The operators with float16 tensors, as in mixed precision training."""

import pytest
import torch
from mmcv import ops
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

ROIS = [[0, 0.5, 0.5, 5, 6], [0, 1, 1, 7, 3.0]]
CLASSES = [0, 1, 2, 2]
CALLS = {  # the operator, and the shapes of its differentiable inputs
    'roi_align': (lambda x: ops.RoIAlign(2)(x, x.new_tensor(ROIS)), (1, 4, 8, 8)),
    'deform_roi_pool': (
        lambda x, offset: ops.DeformRoIPool(2)(x, x.new_tensor(ROIS), offset),
        (1, 4, 8, 8),
        (2, 2, 2, 2),
    ),
    'carafe': (lambda *tensors: ops.carafe(*tensors, 3, 1, 2), (1, 4, 8, 8), (1, 9, 16, 16)),
    'deform_conv': (ops.deform_conv2d, (1, 2, 6, 6), (1, 18, 4, 4), (2, 2, 3, 3)),
    'modulated_deform_conv': (
        lambda *tensors: ops.modulated_deform_conv2d(*tensors, None),
        (1, 2, 6, 6),
        (1, 18, 4, 4),
        (1, 9, 4, 4),
        (2, 2, 3, 3),
    ),
    'deform_attention': (
        lambda value, locations, weights: MultiScaleDeformableAttnFunction.apply(
            value,
            torch.tensor([[4, 4], [2, 2]], device=value.device),
            torch.tensor([0, 16], device=value.device),
            locations,
            weights,
            64,
        ),
        (1, 20, 2, 4),
        (1, 3, 2, 2, 2, 2),
        (1, 3, 2, 2, 2),
    ),
    'sigmoid_focal_loss': (
        lambda x: ops.SigmoidFocalLoss(2.0, 0.25)(x, torch.tensor(CLASSES, device=x.device)),
        (4, 3),
    ),
}


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('name', CALLS)
def test_half_precision_agrees_with_single_precision(random, device, name, autocast):
    call, *shapes = CALLS[name]
    halves = [random(*shape).detach().to(device, torch.float16) for shape in shapes]
    halves = [leaf.requires_grad_() for leaf in halves]
    singles = [leaf.detach().float().requires_grad_() for leaf in halves]
    with torch.autocast(device, torch.float16, enabled=autocast):
        result = call(*halves)
    # Autocast of CUDA computes losses in float32.
    is_single = autocast and device == 'cuda' and name.endswith('focal_loss')
    assert result.dtype == (torch.float32 if is_single else torch.float16)
    expected = call(*singles)
    torch.testing.assert_close(result.float(), expected, rtol=0.01, atol=0.01)
    gradients = torch.autograd.grad(result.float().sum(), halves)
    for gradient, single in zip(
        gradients, torch.autograd.grad(expected.sum(), singles), strict=True
    ):
        tolerance = 0.01 * max(1, single.abs().max().item())
        torch.testing.assert_close(gradient.float(), single, rtol=0.01, atol=tolerance)
