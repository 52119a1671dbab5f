"""Passes over whole feature maps: in torch, or as one Triton kernel each on a GPU."""

import torch
from torch import Tensor

from se_det.layers.kernels import kernels_for
from se_det.layers.precision import vector_dtype


def scale_add_relu_(x: Tensor, scale: Tensor, identity: Tensor) -> Tensor:
    """``relu(identity + scale * x)``, in place of ``x``.

    Args:
        x: ``(N, C, H, W)``.
        scale: ``(N, C)``.
        identity: ``(N, C, H, W)``.

    Returns:
        ``x``.
    """
    kernels = kernels_for(x)
    if kernels:
        return kernels.scale_add_relu_(x, scale, identity)
    return torch.addcmul(identity, x, scale[..., None, None].to(x.dtype), out=x).relu_()


def relu_backward(
    gradient: Tensor, y: Tensor, factor: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Backward of a ReLU, with sums over the pixels of its result.

    Args:
        gradient: of the output, ``(N, C, H, W)``.
        y: the output, of the same shape.
        factor: of the same shape, or None.

    Returns:
        The gradient of the input, ``(N, C, H, W)``; its sum over H x W, ``(N, C)``; and, if there
        is a ``factor``, the sum of its product with it, ``(N, C)``.
    """
    kernels = kernels_for(y)
    if kernels:
        return kernels.relu_backward(gradient, y, factor)
    passed = torch.ops.aten.threshold_backward(gradient, y, 0)
    dtype = vector_dtype(y)
    products = None if factor is None else (passed * factor).sum((2, 3), dtype=dtype)
    return passed, passed.sum((2, 3), dtype=dtype), products
