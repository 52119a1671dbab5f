"""A convolution with the following batch norm folded into its weight.

With fixed statistics batch norm is linear, ``a x + b`` with ``a = weight / sqrt(var + eps)`` and
``b = bias - a mean`` (arXiv 2305.11624 calls training so Tune mode; mmengine's
``efficient_conv_bn_eval`` does it). The folded weight is not saved for backward but folded again.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from se_det.layers.maps import relu_backward
from se_det.layers.precision import autocast_off, in_autocast, vector_dtype


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
    x = in_autocast(x)
    geometry = conv.stride, conv.padding, conv.dilation, conv.groups
    weight = conv.weight.to(vector_dtype(x))
    with autocast_off(x):
        return _FoldedConvolution.apply(x, weight, *norm_inputs(norm, x), geometry, relu)


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
) -> tuple[Tensor, Tensor]:
    """The gradients of batch norm's weight and bias from those of ``a`` and ``b``."""
    return (of_scale - mean * of_shift) * torch.rsqrt(var + eps), of_shift


class _FoldedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        mean: Tensor,
        var: Tensor,
        eps: float,
        geometry: tuple[Any, ...],
        relu: bool,
    ) -> Tensor:
        scale, shift = scale_and_shift(norm_weight, norm_bias, mean, var, eps)
        y = F.conv2d(x, _fold(weight, scale, x), shift.to(x.dtype), *geometry)
        if relu:
            y.relu_()
        ctx.eps, ctx.geometry = eps, geometry
        ctx.save_for_backward(x, weight, scale, mean, var, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, mean, var, y = ctx.saved_tensors
        x_needed, *parameters_needed = ctx.needs_input_grad[:4]
        trains = any(parameters_needed)
        stride, padding, dilation, groups = ctx.geometry
        with autocast_off(x):
            if y is None:
                sums = gradient.sum((2, 3))
            else:
                gradient, sums, _ = relu_backward(gradient, y)
            of_x, of_folded, _ = torch.ops.aten.convolution_backward(
                gradient,
                x,
                _fold(weight, scale, x),
                None,
                stride,
                padding,
                dilation,
                False,
                (0, 0),
                groups,
                [x_needed, trains, False],
            )
            if not trains:
                return of_x, *[None] * 8
            of_scale = (of_folded * weight).sum((1, 2, 3))
            of_weight = of_folded.mul_(scale[:, None, None, None])
            of_norm = norm_gradients(of_scale, sums.sum(0), mean, var, ctx.eps)
        return of_x, of_weight, *of_norm, *[None] * 5


def _fold(weight: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    return (weight * scale[:, None, None, None]).to(x.dtype)
