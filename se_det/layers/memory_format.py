"""How maps lie in memory: a CPU convolves large maps faster where their channels lie last."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def chooses_layout(x: Tensor) -> bool:
    """Whether to choose how maps such as ``x`` lie: on a CPU; torch.compile chooses by itself."""
    return x.device.type == 'cpu' and not torch.compiler.is_compiling()


def better_last(x: Tensor, inputs: int) -> bool:
    """Whether a CPU is faster at a convolution if the channels of ``x`` ``(N, C, H, W)`` lie last.

    It is where maps outweigh weights: those lie first, and have to be laid out anew each time. The
    bound is measured, on whole stages of ResNet-50.

    Args:
        x: what it reads.
        inputs: how many numbers go into one that it puts out.
    """
    pixels = x.numel() // x.shape[1]
    return pixels > 4 * inputs


def lies_last(x: Tensor) -> bool:
    """Whether the channels of ``x`` ``(N, C, H, W)`` lie last, and not first as well."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def channels_last(x: Tensor) -> Tensor:
    """``x`` ``(N, C, H, W)``, or a copy of it, with its channels last."""
    return x.contiguous(memory_format=torch.channels_last)


def laid_like(x: Tensor, other: Tensor) -> Tensor:
    """``other``, or a copy of it, with its channels where those of ``x`` lie."""
    return channels_last(other) if lies_last(x) else other.contiguous()


def zeros_laid_like(x: Tensor, shape: torch.Size) -> Tensor:
    """Zeros of another shape, with their channels where those of ``x`` lie."""
    last = torch.channels_last if lies_last(x) else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=last).zero_()


def contiguous_output(x: Tensor, folded: bool) -> Tensor:
    """What code gets that may count on contiguous maps on a CPU: ``x``, or a copy.

    Args:
        x: ``(N, C, H, W)``, contiguous or with its channels last.
        folded: whether the way back through the block that made it is faster with channels last.
    """
    if chooses_layout(x) and (folded or lies_last(x)):
        return _ContiguousOutput.apply(x)
    return x


def channels_first(x: Tensor) -> Tensor:
    """A contiguous copy of ``x`` ``(N, C, H, W)``, whose channels lie last."""
    copy = torch.empty_like(x, memory_format=torch.contiguous_format)
    # As matrices: torch transposes those in half the time of tensors with more axes.
    for image, pixels in zip(copy.flatten(2), x.permute(0, 2, 3, 1).flatten(1, 2), strict=True):
        image.copy_(pixels.t())
    return copy


class _ContiguousOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        return channels_first(x) if lies_last(x) else x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        # It is added to the gradient of a 1x1 convolution, the first of the next stage.
        last = better_last(gradient, inputs=gradient.shape[1])
        return channels_last(gradient) if last else gradient
