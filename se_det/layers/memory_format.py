"""How maps lie in memory: a CPU convolves large maps faster where their channels lie last."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

PIXELS_FOR_EACH_CHANNEL = 4


def better_last(x: Tensor) -> bool:
    """Whether convolutions are faster if the channels of ``x`` ``(N, C, H, W)`` lie last.

    They are where maps outweigh weights: weights lie first, and have to be laid out anew each time.
    """
    return (
        x.device.type == 'cpu'
        and x.numel() > PIXELS_FOR_EACH_CHANNEL * x.shape[1] ** 2
        and not torch.compiler.is_compiling()  # it chooses for itself
    )


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
    """A copy of ``x`` ``(N, C, H, W)``, whose channels lie last, where they lie first.

    The gradient is laid out again as ``x`` is.
    """
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
