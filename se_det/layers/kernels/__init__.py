"""Kernels for GPUs, and whether they can run: every layer has a way in plain torch as well."""

import functools
import importlib
from types import ModuleType

import torch
from torch import Tensor


def kernels_for(x: Tensor) -> ModuleType | None:
    """`feature_maps` where its kernels run on the device of ``x``, else None.

    None under torch.compile, which makes such kernels itself.
    """
    return None if torch.compiler.is_compiling() else _kernels_on(x.device)


@functools.cache
def _kernels_on(device: torch.device) -> ModuleType | None:
    if device.type != 'cuda':
        return None
    # Triton may be absent, too new for the GPU or in want of a C compiler; it says so in many ways.
    try:
        feature_maps = importlib.import_module('se_det.layers.kernels.feature_maps')
        feature_maps.relu_gradient(*torch.ones(2, 1, 1, 2, 2, device=device))
    except torch.OutOfMemoryError:
        raise  # that says nothing about Triton
    except Exception:
        return None
    return feature_maps
