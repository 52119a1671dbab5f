"""The tail of a block, ``relu(identity + SE(norm(v)))``, as one function with a backward by hand.

Layer by layer, training keeps three maps for the backward: the norm's input, SE's input and the
block's output. Here it keeps two, ``v`` and ``y``. For image n and channel c, with the statistics
``mean`` and ``var`` of the norm:

    norm(v) = a (v - mean) + bias,   a = weight / sqrt(var + eps)
    z = a (m - mean) + bias          m: the mean of v over the image, so that z is the squeeze
    s = excite(z)
    y = relu(identity + s norm(v))

and backward, with g the gradient of y where y > 0, G its sum over the map and P that of
g (v - mean):

    of_s = a P + bias G              of_z by the backward of excite
    of_bias = sum over n of s G + of_z
    of_weight = sum over n of (s P + of_z (m - mean)) / sqrt(var + eps)
    of_v = s a g + a of_z / pixels (within the image)
           - a (of_bias + (v - mean) of_weight / sqrt(var + eps)) / values (if the norm is training)

`gated_tail` computes these on a CPU with torch's operators, on CUDA with Triton's kernels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from se_det.layers.padding import Padding, channel_means
from se_det.layers.squeeze_excitation import ChannelAttention, autocast_off, vector_dtype


def gated_tail(
    v: Tensor,
    identity: Tensor,
    norm: nn.BatchNorm2d,
    se: ChannelAttention,
    padding: Padding | None = None,
) -> Tensor:
    """``relu(identity + se(norm(v), padding))``, with the norm in training or evaluation mode.

    Args:
        v: output of the last convolution, ``(N, C, H, W)``.
        identity: the shortcut, ``(N, C, H, W)``.
        norm: the last batch norm, with running statistics.
        se: the SE block after it, or another channel attention whose squeeze is the mean.
        padding: as in `ChannelAttention.forward`.

    Returns:
        ``(N, C, H, W)``.
    """
    if norm.training:
        norm.num_batches_tracked.add_(1)
    if v.is_cuda:
        from se_det.layers.tail_cuda import cuda_tail  # imports Triton

        return cuda_tail(v, identity, norm, se, padding)
    statistics = norm.running_mean, norm.running_var, norm.training, norm.momentum, norm.eps
    parameters = norm.weight, norm.bias, *se.parameters()
    with autocast_off(v):
        return _Tail.apply(statistics, se, padding, v, identity.to(v.dtype), *parameters)


class _Tail(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        statistics: tuple[Any, ...],
        se: ChannelAttention,
        padding: Padding | None,
        v: Tensor,
        identity: Tensor,
        weight: Tensor,
        bias: Tensor,
        *se_parameters: Tensor,
    ) -> Tensor:
        mean, var, ctx.training, momentum, eps = statistics
        if ctx.training:
            mean, var = torch.ops.aten.batch_norm_update_stats(v, mean, var, momentum)
        inverse_std = (var + eps).rsqrt_()
        scale = weight * inverse_std
        shift = torch.addcmul(bias, mean, scale, value=-1)
        means = channel_means(v, padding, vector_dtype(v)).flatten(1)
        z = torch.addcmul(shift, means, scale)
        gate = se.excite(z)
        y = torch.addcmul(identity, v, _as_map(gate * scale))
        y.add_(_as_map(gate * shift)).relu_()  # torch's _add_relu_ has no NaN and no infinity
        ctx.se, ctx.padding = se, padding
        vectors = mean, inverse_std, scale, shift, means, z, gate
        ctx.save_for_backward(v, y, *vectors, *se_parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        v, y, *vectors = ctx.saved_tensors
        mean, inverse_std, scale, shift, means, z, gate, *se_parameters = vectors
        pixels = v.shape[2] * v.shape[3]
        gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
        sums, products = _image_sums(gradient, v)
        of_gate = torch.addcmul(scale * products, shift, sums)
        of_z, *of_parameters = ctx.se.excite_backward(of_gate, z, gate, *se_parameters)
        of_bias = torch.addcmul(of_z, gate, sums).sum(0)
        of_scale = torch.addcmul(of_z * means, gate, products).sum(0)
        of_weight = torch.addcmul(of_scale, mean, of_bias, value=-1).mul_(inverse_std)
        of_means = scale * of_z
        constant = of_means / pixels if ctx.padding is None else torch.zeros_like(of_means)
        if ctx.training:
            slope = scale * inverse_std * of_weight / (len(v) * pixels)
            constant = constant + slope * mean - scale * of_bias / (len(v) * pixels)
        of_v = torch.addcmul(_as_map(constant), gradient, _as_map(gate * scale))
        if ctx.training:
            of_v.addcmul_(v, _as_map(slope), value=-1)
        if ctx.padding is not None:
            within = (~ctx.padding.mask).to(v.dtype)
            of_v.addcmul_(_as_map(of_means) / ctx.padding.pixels, within)
        return None, None, None, of_v, gradient, of_weight, of_bias, *of_parameters


def _image_sums(gradient: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the map of ``gradient`` and of ``gradient * v``, each ``(N, C)``.

    They are the gradients of a batch norm's bias and weight, which torch computes in one pass.
    """
    zero, one = v.new_zeros(v.shape[1]), v.new_ones(v.shape[1])
    options = one, zero, one, None, None, False, 0.0, (False, True, True)
    found = [
        torch.ops.aten.native_batch_norm_backward(*image, *options)
        for image in zip(gradient.split(1), v.split(1), strict=True)
    ]
    _, products, sums = zip(*found, strict=True)
    return torch.stack(sums), torch.stack(products)


def _as_map(vectors: Tensor) -> Tensor:
    """``(N, C)`` as ``(N, C, 1, 1)``, and ``(C,)`` as ``(C, 1, 1)``."""
    return vectors.unsqueeze(-1).unsqueeze(-1)
