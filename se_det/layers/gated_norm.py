"""The end of any block with SE, from its last batch norm on, in one function.

Batch norm saves its input x for backward, and the ReLU its output. The residual branch is
``a x + b``, so neither the branch nor its product with the gate is saved.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from se_det.layers.channel_attention import ChannelAttention, excite_backward
from se_det.layers.maps import relu_backward, scale_add_relu_
from se_det.layers.padding import channel_means, pixel_shares
from se_det.layers.precision import autocast_off, vector_dtype


def gated_norm(
    x: Tensor,
    identity: Tensor,
    norm: nn.BatchNorm2d,
    se: ChannelAttention,
    sizes: Tensor | None = None,
) -> Tensor:
    """``relu(identity + se(norm(x), sizes))``, with the norm in training or evaluation mode.

    Args:
        x: output of the last convolution, ``(N, C, H, W)``.
        identity: the shortcut, ``(N, C, H, W)``.
        norm: the last batch norm, with running statistics.
        se: the SE block after it, or another channel attention.
        sizes: as in `ChannelAttention.forward`.

    Returns:
        ``(N, C, H, W)``.
    """
    if norm.training:
        norm.num_batches_tracked.add_(1)
    momentum = norm.momentum or 0.0  # None is allowed in evaluation mode, which does not use it
    statistics = norm.running_mean, norm.running_var, norm.training, momentum, norm.eps
    dtype = vector_dtype(x)
    parameters = norm.weight.to(dtype), norm.bias.to(dtype), *se.parameters()
    shares = pixel_shares(sizes, x, dtype)
    with autocast_off(x):
        return _GatedNorm.apply(statistics, se, shares, x, identity.to(x.dtype), *parameters)


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        statistics: tuple[Any, ...],
        se: ChannelAttention,
        shares: Tensor | None,
        x: Tensor,
        identity: Tensor,
        weight: Tensor,
        bias: Tensor,
        *se_parameters: Tensor,
    ) -> Tensor:
        residual, mean, inverse_std = torch.native_batch_norm(x, weight, bias, *statistics)
        running_mean, running_var, ctx.training, _, eps = statistics
        if not ctx.training:
            mean, inverse_std = running_mean, torch.rsqrt(running_var + eps)
        scale = weight * inverse_std
        shift = torch.addcmul(bias, mean, scale, value=-1)
        mean_x = channel_means(x, shares, scale.dtype)
        z = torch.addcmul(shift, mean_x, scale)
        ctx.se, gate = se, se.excite(z, *se_parameters)
        y = scale_add_relu_(residual, gate, identity)
        vectors = mean, inverse_std, scale, shift, mean_x, z, gate
        ctx.save_for_backward(x, y, shares, *vectors, *se_parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, shares, *vectors = ctx.saved_tensors
        mean, inverse_std, scale, shift, mean_x, z, gate, *se_parameters = vectors
        pixels = x[0, 0].numel()
        with autocast_off(x):
            gradient, sums = relu_backward(gradient, y)
            products = (gradient.to(scale.dtype) * x).sum((2, 3))  # float16 could overflow
            of_gate = scale * products + shift * sums
            of_z, *of_parameters = excite_backward(ctx.se, of_gate, z, se_parameters)
            # The gradient of the norm's output is gate * gradient + of_z * shares.
            of_bias = (gate * sums + of_z).sum(0)
            of_scale = (gate * products + of_z * mean_x).sum(0)
            of_weight = (of_scale - mean * of_bias) * inverse_std
            of_squeezed = scale * of_z / pixels
            constant = of_squeezed if shares is None else torch.zeros_like(of_squeezed)
            if ctx.training:  # mean and variance of the batch depend on x
                slope = -scale * inverse_std * of_weight / (len(x) * pixels)
                constant = constant - scale * of_bias / (len(x) * pixels) - slope * mean
            of_x = torch.addcmul(_as_map(constant, x), gradient, _as_map(gate * scale, x))
            if ctx.training:
                of_x.addcmul_(x, _as_map(slope, x))
            if shares is not None:
                of_x.addcmul_((shares * pixels).to(x.dtype), _as_map(of_squeezed, x))
        return None, None, None, of_x, gradient, of_weight, of_bias, *of_parameters


def _as_map(vector: Tensor, x: Tensor) -> Tensor:
    return vector[..., None, None].to(x.dtype)
