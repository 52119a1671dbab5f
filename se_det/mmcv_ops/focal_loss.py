"""The focal loss, of sigmoids and of a softmax."""

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


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss of a softmax per sample, written into ``output``.

    Args:
        input: probabilities, not logits, ``(N, C)``.
        target: class index per sample, ``(N,)`` int64; a negative index has no loss.
        weight: weight per class, ``(C,)``, or empty for none.
        output: ``(N,)``.
        gamma: focusing exponent.
        alpha: weight of all classes.
    """
    p, not_p, scale = _of_target(input, target, weight, alpha)
    output.copy_(-scale * not_p**gamma * p.log())


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Gradient of `softmax_focal_loss_forward` by the logits, written into ``grad_input``.

    ``buff``, ``(N,)``, is overwritten with the factor that all classes of a sample share.
    """
    p, not_p, scale = _of_target(input, target, weight, alpha)
    buff.copy_(scale * (gamma * not_p ** (gamma - 1) * p * p.log() - not_p**gamma))
    is_target = target[:, None] == torch.arange(input.shape[1], device=input.device)
    grad_input.copy_(buff[:, None] * (is_target.to(input) - input))


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


def _of_target(softmax, target, weight, alpha) -> tuple[Tensor, Tensor, Tensor]:
    """Probability of the target, its complement, and the factor of the loss, ``(N,)`` each."""
    counts = target >= 0
    target = target.clamp(min=0)
    # Clamped above 0: the logarithm and negative powers stay finite.
    tiny = torch.finfo(softmax.dtype).tiny
    p = softmax.gather(1, target[:, None])[:, 0]
    scale = alpha * counts.to(softmax)
    if weight.numel():
        scale = scale * weight[target]
    return p.clamp(min=tiny), (1 - p).clamp(min=tiny), scale
