"""The focal loss of sigmoids."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss (arXiv 1708.02002, equation 5) per sample and class, written into ``output``.

    Args:
        input: logits, ``(N, C)``.
        target: class index per sample, ``(N,)`` int64; C is background.
        weight: weight per class, ``(C,)``, or empty for none; background has weight 1.
        output: ``(N, C)``.
        gamma: focusing exponent.
        alpha: weight of the positive class; the negative has ``1 - alpha``.
    """
    output.copy_(_sigmoid_focal_loss(input, target, weight, gamma, alpha)[0])


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Gradient of `sigmoid_focal_loss_forward`, written into ``grad_input`` ``(N, C)``."""
    grad_input.copy_(_sigmoid_focal_loss(input, target, weight, gamma, alpha)[1])


def _sigmoid_focal_loss(logits, target, weight, gamma, alpha) -> tuple[Tensor, Tensor]:
    """Focal loss per sample and class, and its derivative by the logit."""
    positive = target[:, None] == torch.arange(logits.shape[1], device=logits.device)
    # Apart from alpha, the loss of a negative at x is that of a positive at -x.
    sign = torch.where(positive, 1, -1)
    p, log_p = (sign * logits).sigmoid(), F.logsigmoid(sign * logits)
    not_p = (-sign * logits).sigmoid()
    scale = torch.where(positive, alpha, 1 - alpha).to(logits) * not_p**gamma
    if weight.numel():
        scale = scale * F.pad(weight, (0, 1), value=1)[target, None]
    # Autograd returns NaN for gamma < 1: the derivative of not_p**gamma has a pole at 0.
    return -scale * log_p, -sign * scale * (not_p - gamma * p * log_p)
