"""The focal loss of sigmoids."""

import pytest
import torch
from mmcv import ops


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('weight', [None, torch.tensor([0.5, 2, 3], dtype=torch.float64)])
def test_sigmoid_focal_loss_and_gradient(random, device, gamma, weight):
    logits = 8 * random(5, 3).to(device) - 4
    target = torch.tensor([0, 2, 3, 1, 2], device=device)  # 3 is background
    p, alpha = logits.sigmoid(), 0.25
    if_positive = -alpha * (1 - p) ** gamma * p.log()
    if_negative = -(1 - alpha) * p**gamma * (1 - p).log()
    is_positive = target[:, None] == torch.arange(3, device=device)
    expected = torch.where(is_positive, if_positive, if_negative)
    if weight is not None:
        weight = weight.to(device)
        expected = expected * torch.tensor([*weight, 1], device=device)[target, None]
    result = ops.sigmoid_focal_loss(logits, target, gamma, alpha, weight, 'none')
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(
        torch.autograd.grad(result.sum(), logits, retain_graph=True),
        torch.autograd.grad(expected.sum(), logits),
    )


def test_sigmoid_focal_loss_gradient_of_certain_predictions():
    logits = torch.tensor([[50.0, -50.0], [-50.0, 50.0]], requires_grad=True)
    gamma, alpha = 0.5, 0.25
    ops.sigmoid_focal_loss(logits, torch.tensor([0, 0]), gamma, alpha, None, 'sum').backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0, 0], [-alpha, 1 - alpha]]))
