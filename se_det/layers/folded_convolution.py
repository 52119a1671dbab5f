"""A convolution with the batch norm behind it folded into its weight: one pass instead of three.

Batch norm in evaluation mode is linear, ``a x + b`` with ``a = weight / sqrt(var + eps)`` and
``b = bias - a mean``: it can go into the convolution before it, in training too, as long as the
statistics stand still. Neither the convolution's output nor the folded weight is kept for the
backward pass; the weight is folded once more there. Where the map is smaller than the weight, this
would cost more than it saves, and the two stay apart.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import _has_any_global_hook

from se_det.layers.kernels import kernels_for
from se_det.layers.memory_format import (
    better_last,
    channels_last,
    chooses_layout,
    laid_like,
    lies_last,
    zeros_laid_like,
)
from se_det.layers.precision import as_in_autocast, is_half, vector_dtype, without_autocast
from se_det.layers.projection import project_to_last, weight_gradients
from se_det.layers.relu_gradient import relu_gradient

SMALLEST_BALANCE = 1e-3


def can_fold(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether `folded_convolution` computes what ``norm(conv(x))`` does."""
    return (
        type(conv) is nn.Conv2d
        and conv.bias is None
        and conv.padding_mode == 'zeros'
        and isinstance(conv.padding, tuple)
        and type(norm).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)
        and not norm.training
        and norm.affine
        and norm.running_mean is not None
        and not has_hooks(conv)
        and not has_hooks(norm)
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether someone looks at what goes in and out of a module, or has put in another forward."""
    return bool(
        'forward' in vars(module)
        or _has_any_global_hook()
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def folded_convolution(x: Tensor, conv: nn.Conv2d, norm: _BatchNorm, relu: bool) -> Tensor:
    """``norm(conv(x))``, or ``relu(norm(conv(x)))``, for a norm in evaluation mode.

    Args:
        x: ``(N, C_in, H, W)``.
        conv: a convolution without bias.
        norm: the batch norm behind it.
        relu: whether a ReLU follows.

    Returns:
        ``(N, C_out, H', W')``, in the precision that autocast sets.
    """
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    if conv.weight.numel() > conv.out_channels * pixels:
        y = norm(conv(x))
        return F.relu_(y) if relu else y
    x = as_in_autocast(x)
    dtype = vector_dtype(x)
    geometry = conv.stride, conv.padding, conv.dilation, conv.groups
    inputs = x, geometry, relu, conv.weight.to(dtype), *norm_inputs(norm, dtype)
    with torch.autocast(x.device.type, enabled=False):
        if torch.compiler.is_compiling():
            y, _ = _convolve(*inputs)
            return y
        return _FoldedConvolution.apply(*inputs)


def norm_inputs(norm: _BatchNorm, dtype: torch.dtype) -> tuple[Any, ...]:
    """What `scale_and_shift` takes, from the module."""
    vectors = norm.weight, norm.bias, norm.running_mean, norm.running_var
    return *(vector.to(dtype) for vector in vectors), norm.eps


def scale_and_shift(
    weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Batch norm's ``a`` and ``b``, each ``(C,)``."""
    scale = weight * torch.rsqrt(var + eps)
    return scale, torch.addcmul(bias, mean, scale, value=-1)


def norm_gradients(
    scale_gradient: Tensor, shift_gradient: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor | None, ...]:
    """From the gradients of ``a`` and ``b`` to those of the arguments of `scale_and_shift`."""
    weight_gradient = (scale_gradient - mean * shift_gradient) * torch.rsqrt(var + eps)
    return weight_gradient, shift_gradient, None, None, None


def _convolve(
    x: Tensor, geometry: tuple[Any, ...], relu: bool, weight: Tensor, *norm: Any
) -> tuple[Tensor, Tensor]:
    """What `folded_convolution` returns, and ``a``."""
    scale, shift = scale_and_shift(*norm)
    if _goes_across(x, weight, geometry):
        y = project_to_last(x, _fold(weight, scale, x).flatten(1), shift)
        return y.relu_() if relu else y, scale
    x, geometry = _as_read(x, weight, geometry)
    folded = _fold(weight, scale, x)
    kernels = kernels_for(x) if relu else None
    if kernels:
        y = F.conv2d(x, folded, None, *geometry)
        return kernels.scale_add_relu(y, bias=shift, in_place=True), scale
    y = F.conv2d(x, folded, shift.to(x.dtype), *geometry)
    return y.relu_() if relu else y, scale


def _as_read(
    x: Tensor, weight: Tensor, geometry: tuple[Any, ...]
) -> tuple[Tensor, tuple[Any, ...]]:
    """What a CPU convolves faster than ``x``, and how.

    Large maps are laid out anew, and a 1x1 convolution gets the pixels that it reads, and stride 1.
    """
    if not chooses_layout(x):
        return x, geometry
    last = lies_last(x) or better_last(x, inputs=weight[0].numel())
    (rows, columns), padding, *rest = geometry
    if weight.shape[2:] == (1, 1) and rows * columns > 1 and not any(padding):
        x, geometry = x[:, :, ::rows, ::columns], ((1, 1), padding, *rest)
    return channels_last(x) if last else x.contiguous(), geometry


def _goes_across(x: Tensor, weight: Tensor, geometry: tuple[Any, ...]) -> bool:
    """Whether a CPU saves itself the copy that `_as_read` makes of a whole map."""
    stride, padding, _, groups = geometry
    return (
        chooses_layout(x)
        and x.dtype == weight.dtype
        and weight.shape[2:] == stride == (1, 1)
        and padding == (0, 0)
        and groups == 1
        and x.is_contiguous()
        and better_last(x, inputs=weight[0].numel())
    )


def _fold(weight: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    return laid_like(x, (weight * scale[:, None, None, None]).to(x.dtype))


def _convolve_backward(
    gradient: Tensor,
    x: Tensor,
    geometry: tuple[Any, ...],
    weight: Tensor,
    scale: Tensor,
    x_needed: bool,
    weight_needed: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of ``x`` and of the folded weight."""
    if _goes_across(x, weight, geometry):
        x_gradient = folded_gradient = None
        if x_needed:
            x_gradient = F.conv_transpose2d(gradient, _fold(weight, scale, x))
        if weight_needed:
            folded_gradient = weight_gradients(gradient, x, weight.dtype).sum(0).view_as(weight)
        return x_gradient, folded_gradient
    read, (stride, padding, dilation, groups) = _as_read(x, weight, geometry)
    x_gradient, folded_gradient, _ = torch.ops.aten.convolution_backward(
        gradient,
        read,
        _fold(weight, scale, read),
        None,
        stride,
        padding,
        dilation,
        False,
        (0, 0),
        groups,
        [x_needed, weight_needed, False],
    )
    if x_needed and read.shape != x.shape:
        rows, columns = geometry[0]
        read_gradient, x_gradient = x_gradient, zeros_laid_like(read, x.shape)
        x_gradient[:, :, ::rows, ::columns] = read_gradient
    return x_gradient, folded_gradient


class _FoldedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        geometry: tuple[Any, ...],
        relu: bool,
        weight: Tensor,
        *norm: Any,
    ) -> Tensor:
        y, scale = _convolve(x, geometry, relu, weight, *norm)
        _, _, mean, var, ctx.eps = norm
        ctx.geometry = geometry
        ctx.save_for_backward(x, weight, scale, mean, var, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, mean, var, y = ctx.saved_tensors
        x_needed, _, _, *parameters_needed = ctx.needs_input_grad
        parameter_needed = any(parameters_needed)
        if y is None:
            sums = gradient.sum((2, 3), dtype=scale.dtype)
        else:
            gradient, sums = relu_gradient(gradient, y)
        if is_half(x):
            # Without the norm's scale the weight's gradient could overflow; with a zero in it, the
            # norm's gradient could not be told from it.
            balance = scale.abs().clamp(min=SMALLEST_BALANCE)
            gradient = gradient * balance[:, None, None].to(x.dtype)
            rest = scale / balance
        else:
            balance, rest = 1, scale
        x_gradient, folded_gradient = _convolve_backward(
            gradient, x, ctx.geometry, weight, rest, x_needed, parameter_needed
        )
        if not parameter_needed:
            return x_gradient, *[None] * 8
        folded_gradient = laid_like(weight, folded_gradient.to(weight.dtype))
        scale_gradient = (folded_gradient * weight).sum((1, 2, 3)) / balance
        weight_gradient = folded_gradient.mul_(rest[:, None, None, None])
        norm_gradient = norm_gradients(scale_gradient, sums.sum(0), mean, var, ctx.eps)
        return x_gradient, None, None, weight_gradient, *norm_gradient
