"""In which precision layers compute: maps in their own, per-channel vectors in float32 at least."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def as_in_autocast(x: Tensor) -> Tensor:
    """``x`` as autocast, where it is on, would hand it to a convolution."""
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype is not torch.float64:
        return x.to(torch.get_autocast_dtype(device))
    return x


def is_half(x: Tensor) -> bool:
    """Whether ``x`` is in float16 or bfloat16."""
    return x.dtype.itemsize < 4


def vector_dtype(x: Tensor) -> torch.dtype:
    """Of the per-channel vectors beside a map ``x``: float32, or float64 for float64."""
    return torch.promote_types(x.dtype, torch.float32)


def without_autocast(backward: Callable[[FunctionCtx, Tensor], Any]) -> Callable:
    """A backward pass that computes in the precision of its tensors, whatever is around it."""

    @functools.wraps(backward)
    def alone(ctx: FunctionCtx, gradient: Tensor) -> Any:
        with torch.autocast(gradient.device.type, enabled=False):
            return backward(ctx, gradient)

    return alone
