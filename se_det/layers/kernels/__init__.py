"""Triton kernels, and whether they run on a device."""

import functools
import importlib
import warnings
from types import ModuleType

import torch
from torch import Tensor


def kernels_for(x: Tensor) -> ModuleType | None:
    """`feature_maps` if its kernels run on the device of ``x``, else None."""
    return _kernels_on(x.device) if x.is_cuda else None


@functools.cache
def _kernels_on(device: torch.device) -> ModuleType | None:
    # Triton may be absent, too new for the GPU, or without a C compiler; its exceptions vary.
    try:
        feature_maps = importlib.import_module('se_det.layers.kernels.feature_maps')
        feature_maps.relu_backward(*torch.ones(2, 1, 1, 2, 2, device=device))
    except torch.OutOfMemoryError:
        raise  # not a fault of Triton
    except Exception as error:
        warnings.warn(
            f'Triton kernels do not run on {device}, so that torch operators are used: '
            f'{type(error).__name__}: {error}',
            stacklevel=2,
        )
        return None
    return feature_maps
