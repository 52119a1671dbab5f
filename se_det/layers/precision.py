"""Maps are computed in their own precision, vectors of one value per channel in float32 or more."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def autocast_dtype(x: Tensor) -> torch.dtype:
    """The dtype that autocast would give ``x`` as the input of a convolution."""
    device = x.device.type
    on = torch.is_autocast_enabled(device) and x.dtype is not torch.float64
    return torch.get_autocast_dtype(device) if on else x.dtype


def autocast_off(x: Tensor) -> AbstractContextManager:
    """A context without autocast on the device of ``x``."""
    device = x.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()


def is_half(dtype: torch.dtype) -> bool:
    """Whether a dtype is float16 or bfloat16."""
    return dtype.itemsize < 4


def vector_dtype(x: Tensor) -> torch.dtype:
    """The precision of vectors beside a map ``x``."""
    return torch.promote_types(x.dtype, torch.float32)
