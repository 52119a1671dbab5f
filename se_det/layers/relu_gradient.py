"""The way back through a ReLU, with the sums that the backward pass of what is before it needs."""

import torch
from torch import Tensor

from se_det.layers.kernels import kernels_for
from se_det.layers.memory_format import laid_like
from se_det.layers.precision import vector_dtype


def relu_gradient(
    gradient: Tensor, y: Tensor, identity: Tensor | None = None, factor: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The gradient before a ReLU, and what its pixels sum up to.

    Args:
        gradient: of the ReLU's output, ``(N, C, H, W)``.
        y: the ReLU's output, of the same shape.
        identity: if given, each pixel counts ``y - identity`` times in the sum.
        factor: if given, each pixel counts ``factor`` times.

    Returns:
        The gradient where y is positive and 0 elsewhere, ``(N, C, H, W)``, and its sum over
        H x W, ``(N, C)``, in float32 or float64.
    """
    kernels = kernels_for(y)
    if kernels:
        return kernels.relu_gradient(gradient, y, identity, factor)
    laid = laid_like(gradient, y)
    if laid is y:
        passed = torch.ops.aten.threshold_backward(gradient, y, 0)
    else:  # a copy, which may be written over
        passed = torch.ops.aten.threshold_backward.grad_input(gradient, laid, 0, grad_input=laid)
    weighted = passed
    if identity is not None:
        weighted = torch.sub(y, identity).mul_(passed)
    elif factor is not None:
        weighted = factor * passed
    return passed, weighted.sum((2, 3), dtype=vector_dtype(y))
