"""A convolution with the batch norm behind it folded into its weight: one pass instead of three.

Batch norm in evaluation mode is linear, ``a x + b`` with ``a = weight / sqrt(var + eps)`` and
``b = bias - a mean``: it can go into the convolution before it, in training too, as long as the
statistics stand still. Neither the convolution's output nor the folded weight is kept for the
backward pass; the weight is folded once more there.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from se_det.layers.recomputation import Recomputed


def can_fold(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether `folded_convolution` computes what ``norm(conv(x))`` does."""
    return (
        type(conv) is nn.Conv2d
        and conv.bias is None
        and conv.padding_mode == 'zeros'
        and isinstance(norm, _BatchNorm)
        and not norm.training
        and norm.affine
        and norm.running_mean is not None
        and not has_hooks(conv)
        and not has_hooks(norm)
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether someone looks at what goes in and out of a module."""
    return bool(
        module._forward_hooks
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
        ``(N, C_out, H', W')``.
    """
    pixels = x.shape[0] * x.shape[2] * x.shape[3] / (conv.stride[0] * conv.stride[1])
    # Where the weight is larger than the output, folding takes longer than what it saves.
    if conv.weight.numel() > conv.out_channels * pixels:
        y = norm(conv(x))
        return F.relu_(y) if relu else y
    return _FoldedConvolution.apply(
        x, conv.stride, conv.padding, conv.dilation, conv.groups, relu, *norm_inputs(conv, norm)
    )


def norm_inputs(conv: nn.Conv2d, norm: _BatchNorm) -> tuple[Any, ...]:
    """What `fold` takes, from the modules."""
    return conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps


def scale_and_shift(
    weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Batch norm's ``a`` and ``b``, each ``(C,)``."""
    scale = weight * torch.rsqrt(var + eps)
    return scale, bias - mean * scale


def fold(
    conv_weight: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Weight ``(C_out, C_in, k, k)`` and bias ``(C_out,)`` of the folded convolution."""
    scale, shift = scale_and_shift(weight, bias, mean, var, eps)
    return conv_weight * scale[:, None, None, None], shift


class _FoldedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
        relu: bool,
        *norm: Any,
    ) -> Tensor:
        y = F.conv2d(x, *fold(*norm), stride, padding, dilation, groups)
        if relu:
            y.relu_()
        *tensors, ctx.eps = norm
        ctx.geometry = stride, padding, dilation, False, (0, 0), groups
        ctx.save_for_backward(x, *tensors, *([y] if relu else []))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, conv_weight, weight, bias, mean, var, *y = ctx.saved_tensors
        if y:
            gradient = torch.ops.aten.threshold_backward(gradient, y[0], 0)
        norm = conv_weight, weight, bias, mean, var, ctx.eps
        x_needed, norm_needed = ctx.needs_input_grad[0], ctx.needs_input_grad[6:]
        folded = Recomputed(fold, norm, norm_needed)
        x_gradient, *folded_gradients = torch.ops.aten.convolution_backward(
            gradient,
            x,
            folded.outputs[0],
            list(bias.shape),
            *ctx.geometry,
            [x_needed, any(norm_needed), any(norm_needed)],
        )
        return x_gradient, *[None] * 5, *folded.gradients(folded_gradients)
