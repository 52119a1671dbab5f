"""The steps of mmcv's SyncBN, which averages the statistics over processes between them."""

from torch import Tensor


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Mean of each channel of ``input`` ``(N, C, S)``, written into ``mean`` ``(C,)`` float32."""
    mean.copy_(input.float().mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Mean squared distance from ``mean`` of each channel, written into ``var`` ``(C,)``."""
    var.copy_((input.float() - mean[:, None]).square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float,
    group_size: int,
) -> None:
    """Normalize, scale and shift, written into ``output``; update the running statistics.

    Args:
        input: ``(N, C, S)``.
        mean: mean of each channel over all processes, ``(C,)``.
        var: biased variance over all processes.
        weight: scale, or None for neither scale nor shift.
        bias: shift.
        running_mean: updated in place, or None.
        running_var: updated in place with the unbiased variance.
        norm: shape of ``input``, float32; overwritten with the normalized input.
        std: overwritten with the standard deviation, ``(C,)``.
        output: shape of ``input``.
        eps: added to the variance.
        momentum: weight of this batch in the running statistics.
        group_size: number of processes; all are taken to have as many values as this one.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((input - mean[:, None]) / std[:, None])
    output.copy_(norm if weight is None else norm * weight[:, None] + bias[:, None])
    if running_mean is not None:
        count = input[:, 0].numel() * group_size
        unbiased = var * count / (count - 1) if count > 1 else var
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(unbiased, momentum)


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Gradients of `sync_bn_forward_output`, written into ``grad_weight`` and ``grad_bias``."""
    grad_weight.copy_((grad_output * norm).sum((0, 2)))
    grad_bias.copy_(grad_output.float().sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Gradient of all forward steps by ``input``, written into ``grad_input`` ``(N, C, S)``.

    ``grad_weight`` and ``grad_bias`` are from `sync_bn_backward_param`, averaged over processes.
    """
    count = grad_output[:, 0].numel()
    through_statistics = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    grad_input.copy_((weight / std)[:, None] * (grad_output - through_statistics))
