"""CARAFE: upsampling with a predicted kernel for every output pixel."""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """CARAFE (arXiv 1905.02188, equation 2), written into ``output``.

    Args:
        features: ``(N, C, H, W)``.
        masks: kernels, ``(N, group_size * kernel_size ** 2, S * H, S * W)``; S is ``scale_factor``.
        rfeatures: shape of ``features``; overwritten with them, for `carafe_backward`.
        routput: scratch space of mmcv's kernel, not used; as ``rmasks``.
        rmasks: see ``routput``.
        output: ``(N, C, S * H, S * W)``.
        kernel_size: width of the window of input pixels per output pixel; odd.
        group_size: groups of channels that share a kernel.
        scale_factor: output pixels per input pixel, along each axis.
    """
    rfeatures.copy_(features)
    output.zero_()
    blocks = _blocks(output, group_size, scale_factor)
    padded = F.pad(features, (kernel_size // 2,) * 4)
    for seen, kernel in _window(padded, masks, kernel_size, group_size, scale_factor):
        blocks.addcmul_(seen, kernel)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Gradient of `carafe_forward`, written into ``bottom_grad`` and ``mask_grad``.

    The arguments from ``rtop_grad`` to ``rmask_grad`` are scratch space of mmcv's kernel, not used.
    """
    bottom_grad.zero_()
    mask_grad.zero_()
    geometry = (kernel_size, group_size, scale_factor)
    reach = kernel_size // 2
    padded, padded_grad = (F.pad(tensor, (reach,) * 4) for tensor in (rfeatures, bottom_grad))
    grad = _blocks(top_grad, group_size, scale_factor).contiguous()  # faster to sum over H, W
    window = _window(padded, masks, *geometry)
    window_grad = _window(padded_grad, mask_grad, *geometry)
    for (seen, kernel), (seen_grad, kernel_grad) in zip(window, window_grad, strict=True):
        seen_grad += (grad * kernel).sum((3, 4), keepdim=True)
        kernel_grad += (grad * seen).sum(2, keepdim=True)
    bottom_grad.copy_(F.pad(padded_grad, (-reach,) * 4))


def _blocks(upsampled, group_size, scale_factor) -> Tensor:
    """View ``(N, C, S * H, S * W)`` as ``(N, group_size, C / group_size, S, S, H, W)``."""
    by_column = upsampled.unflatten(3, (-1, scale_factor))
    by_both = by_column.unflatten(2, (-1, scale_factor)).unflatten(1, (group_size, -1))
    return by_both.permute(0, 1, 2, 4, 6, 3, 5)


def _window(
    padded, masks, kernel_size, group_size, scale_factor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over the positions of the window; unfolding would need memory for all at once.

    Yields:
        The input pixels and the kernel values at a position, for all output pixels: views that
        broadcast to the shape of `_blocks`.
    """
    kernels = _blocks(masks, group_size, scale_factor)
    height, width = kernels.shape[-2:]
    for place, kernel in enumerate(kernels.split(1, dim=2)):
        i, j = divmod(place, kernel_size)
        seen = padded[:, :, None, None, i : i + height, j : j + width]
        yield seen.unflatten(1, (group_size, -1)), kernel
