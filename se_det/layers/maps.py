"""Passes over whole feature maps."""

import torch
from torch import Tensor

from se_det.layers.precision import vector_dtype


def scale_add_relu_(x: Tensor, scale: Tensor, identity: Tensor) -> Tensor:
    """``relu(identity + scale * x)`` in place of ``x`` ``(N, C, H, W)``; ``scale``: ``(N, C)``."""
    return torch.addcmul(identity, x, scale[..., None, None].to(x.dtype), out=x).relu_()


def relu_backward(gradient: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Backward of a ReLU with the output ``y`` ``(N, C, H, W)``.

    Returns:
        The gradient of its input, ``(N, C, H, W)``, and the sum of that over H x W, ``(N, C)``.
    """
    gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
    return gradient, gradient.sum((2, 3), dtype=vector_dtype(y))


def convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, geometry: tuple, needed: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Backward of a convolution without bias.

    Args:
        gradient: of the output.
        x: the input.
        weight: the weight.
        geometry: stride, padding, dilation and groups.
        needed: whether the gradients of input and weight are needed.

    Returns:
        These gradients.
    """
    *geometry, groups = geometry
    options = None, *geometry, False, (0, 0), groups, (*needed, False)
    return torch.ops.aten.convolution_backward(gradient, x, weight, *options)[:2]
