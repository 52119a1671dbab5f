"""How maps lie in memory: a CPU convolves large maps faster where their channels lie last."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def better_last(x: Tensor, weight: Tensor) -> bool:
    """Whether a CPU is faster at a convolution if the channels of ``x`` ``(N, C, H, W)`` lie last.

    It is where maps outweigh weights: those lie first, and have to be laid out anew each time. The
    bound is measured, on whole stages of ResNet-50.
    """
    pixels = x.numel() // x.shape[1]
    return pixels > 4 * weight[0].numel()


def lies_last(x: Tensor) -> bool:
    """Whether the channels of ``x`` ``(N, C, H, W)`` lie last, and not first as well."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def channels_last(x: Tensor) -> Tensor:
    """A copy of ``x`` ``(N, C, H, W)`` whose channels lie last."""
    return x.contiguous(memory_format=torch.channels_last)


def laid_like(x: Tensor, other: Tensor) -> Tensor:
    """``other``, or a copy of it, with its channels where those of ``x`` lie."""
    return channels_last(other) if lies_last(x) else other.contiguous()


def channels_first(x: Tensor) -> Tensor:
    """``x`` ``(N, C, H, W)``, or on a CPU, if its channels lie last, a contiguous copy.

    The gradient of a copy is laid out again as ``x`` is.
    """
    if x.device.type != 'cpu' or torch.compiler.is_compiling() or not lies_last(x):
        return x
    return _ChannelsFirst.apply(x)


class _ChannelsFirst(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        copy = torch.empty_like(x, memory_format=torch.contiguous_format)
        # As matrices: torch transposes those in half the time of tensors with more axes.
        for image, pixels in zip(copy.flatten(2), x.permute(0, 2, 3, 1).flatten(1, 2), strict=True):
            image.copy_(pixels.t())
        return copy

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return channels_last(gradient)
