"""The end of a bottleneck with SE whose last batch norm has fixed statistics.

``norm3(conv3(u)) = a W u + b`` is linear, so its mean, the squeeze, is ``z = a W mean(u) + b``: the
gate is computed from the input of the convolution, which has a quarter of the channels, and neither
the output of the convolution nor that of the norm is saved for backward.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from se_det.layers.channel_attention import ChannelAttention, excite_backward
from se_det.layers.folded_convolution import norm_gradients, norm_inputs, scale_and_shift
from se_det.layers.maps import convolution_backward, relu_backward, scale_add_relu_
from se_det.layers.padding import channel_means, pixel_shares
from se_det.layers.precision import autocast_dtype, autocast_off, vector_dtype

POINTWISE = (1, 1), (0, 0), (1, 1), 1  # stride, padding, dilation, groups


def gated_projection(
    u: Tensor,
    identity: Tensor,
    conv: nn.Conv2d,
    norm: _BatchNorm,
    se: ChannelAttention,
    sizes: Tensor | None = None,
) -> Tensor:
    """``relu(identity + se(norm(conv(u)), sizes))`` for a norm in evaluation mode.

    Args:
        u: ``(N, K, H, W)``; in half precision without gradients only.
        identity: the shortcut, ``(N, C, H, W)``.
        conv: a 1x1 convolution with stride 1 and no bias, from K to C channels.
        norm: the batch norm after it.
        se: the SE block after that, or another channel attention.
        sizes: as in `ChannelAttention.forward`.

    Returns:
        ``(N, C, H, W)``.
    """
    u = u.to(autocast_dtype(u))
    dtype = vector_dtype(u)
    weight = conv.weight.flatten(1).to(dtype)
    parameters = *norm_inputs(norm, u), *se.parameters()
    shares = pixel_shares(sizes, u, dtype)
    with autocast_off(u):
        return _GatedProjection.apply(se, shares, u, identity.to(u.dtype), weight, *parameters)


class _GatedProjection(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        se: ChannelAttention,
        shares: Tensor | None,
        u: Tensor,
        identity: Tensor,
        weight: Tensor,
        *parameters: Any,
    ) -> Tensor:
        norm, se_parameters = parameters[:5], parameters[5:]
        scale, shift = scale_and_shift(*norm)
        mean_u = channel_means(u, shares, weight.dtype)
        projected = mean_u @ weight.T
        z = torch.addcmul(shift, projected, scale)
        ctx.se, gate = se, se.excite(z, *se_parameters)
        folded = (weight * scale[:, None])[..., None, None]
        y = F.conv2d(u, folded.to(u.dtype), shift.to(u.dtype))
        y = scale_add_relu_(y, gate, identity)
        _, _, mean, var, ctx.eps = norm
        vectors = mean, var, scale, shift, mean_u, projected, z, gate
        ctx.save_for_backward(u, y, shares, weight, *vectors, *se_parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        u, y, shares, weight, *vectors = ctx.saved_tensors
        mean, var, scale, shift, mean_u, projected, z, gate, *se_parameters = vectors
        with autocast_off(u):
            gradient, of_gated_shift = relu_backward(gradient, y)
            # y = relu(identity + (s a W) u + s b): the weight differs from image to image.
            gated_scale = gate * scale
            of_u, of_gated_weight = torch.empty_like(u), weight.new_empty(len(u), *weight.shape)
            for n in range(len(u)):
                gated_weight = (gated_scale[n, :, None] * weight)[..., None, None]
                image = slice(n, n + 1)
                of_u[image], of_image = convolution_backward(
                    gradient[image], u[image], gated_weight, POINTWISE, (True, True)
                )
                of_gated_weight[n] = of_image.flatten(1)
            of_gated_scale = (of_gated_weight * weight).sum(2)
            of_gate = of_gated_scale * scale + of_gated_shift * shift
            of_z, *of_parameters = excite_backward(ctx.se, of_gate, z, se_parameters)
            # z = a W mean(u) + b
            of_projected = of_z * scale
            of_scale = (of_gated_scale * gate + of_z * projected).sum(0)
            of_shift = (of_gated_shift * gate + of_z).sum(0)
            of_weight = (of_gated_weight * gated_scale[..., None]).sum(0)
            of_weight.addmm_(of_projected.T, mean_u)
            of_mean_u = (of_projected @ weight)[..., None, None]
            if shares is None:
                of_u.add_(of_mean_u / u[0, 0].numel())
            else:
                of_u.addcmul_(shares, of_mean_u)
            of_norm = norm_gradients(of_scale, of_shift, mean, var, ctx.eps)
        return None, None, of_u, gradient, of_weight, *of_norm, *of_parameters
