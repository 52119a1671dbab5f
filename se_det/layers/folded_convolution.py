"""A convolution with the following batch norm folded into its weight.

With fixed statistics batch norm is linear, ``a x + b`` with ``a = weight / sqrt(var + eps)`` and
``b = bias - a mean``, so that it can go into the convolution, in training too (arXiv 2305.11624;
mmengine's ``efficient_conv_bn_eval``). Backward folds the weight again instead of saving it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from se_det.layers.maps import convolution_backward, relu_backward
from se_det.layers.precision import autocast_dtype, autocast_off, vector_dtype


def folded_convolution(x: Tensor, conv: nn.Conv2d, norm: _BatchNorm, relu: bool) -> Tensor:
    """``norm(conv(x))``, or ``relu(norm(conv(x)))``, for a norm in evaluation mode.

    Args:
        x: ``(N, C_in, H, W)``; in half precision without gradients only.
        conv: a convolution without bias.
        norm: the batch norm after it.
        relu: whether a ReLU follows.

    Returns:
        ``(N, C_out, H', W')``.
    """
    x = x.to(autocast_dtype(x))
    geometry = conv.stride, conv.padding, conv.dilation, conv.groups
    weight = conv.weight.to(vector_dtype(x))
    with autocast_off(x):
        return _FoldedConvolution.apply(x, geometry, relu, weight, *norm_inputs(norm, x))


def norm_inputs(norm: _BatchNorm, x: Tensor) -> tuple[Any, ...]:
    """Weight, bias, mean and variance of a norm in the precision of vectors, and its eps."""
    vectors = norm.weight, norm.bias, norm.running_mean, norm.running_var
    return *(vector.to(vector_dtype(x)) for vector in vectors), norm.eps


def scale_and_shift(
    weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Batch norm's ``a`` and ``b``, each ``(C,)``."""
    scale = weight * torch.rsqrt(var + eps)
    return scale, torch.addcmul(bias, mean, scale, value=-1)


def norm_gradients(
    of_scale: Tensor, of_shift: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor | None, ...]:
    """From the gradients of ``a`` and ``b`` to those of the arguments of `scale_and_shift`."""
    return (of_scale - mean * of_shift) * torch.rsqrt(var + eps), of_shift, None, None, None


class _FoldedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, geometry: tuple, relu: bool, weight: Tensor, *norm: Any
    ) -> Tensor:
        scale, shift = scale_and_shift(*norm)
        y = F.conv2d(x, _fold(weight, scale).to(x.dtype), shift.to(x.dtype), *geometry)
        if relu:
            y.relu_()
        _, _, mean, var, ctx.eps = norm
        ctx.geometry = geometry
        ctx.save_for_backward(x, weight, scale, mean, var, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, mean, var, y = ctx.saved_tensors
        x_needed, _, _, *parameters_needed = ctx.needs_input_grad
        needed = x_needed, any(parameters_needed)
        with autocast_off(x):
            gradient, sums = (
                (gradient, gradient.sum((2, 3))) if y is None else relu_backward(gradient, y)
            )
            of_x, of_folded = convolution_backward(
                gradient, x, _fold(weight, scale), ctx.geometry, needed
            )
            if of_folded is None:
                return of_x, *[None] * 8
            of_scale = (of_folded * weight).sum((1, 2, 3))
            of_weight = of_folded.mul_(scale[:, None, None, None])
            of_norm = norm_gradients(of_scale, sums.sum(0), mean, var, ctx.eps)
        return of_x, None, None, of_weight, *of_norm


def _fold(weight: Tensor, scale: Tensor) -> Tensor:
    return weight * scale[:, None, None, None]
