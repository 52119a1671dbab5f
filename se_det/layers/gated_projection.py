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

from se_det.layers.folded_convolution import norm_gradients, norm_inputs, scale_and_shift
from se_det.layers.maps import relu_backward, scale_add_relu_
from se_det.layers.precision import autocast_off, in_autocast, vector_dtype
from se_det.layers.squeeze_excitation import SqueezeExcitation, excite, excite_backward


def gated_projection(
    u: Tensor, identity: Tensor, conv: nn.Conv2d, norm: _BatchNorm, se: SqueezeExcitation
) -> Tensor:
    """``relu(identity + se(norm(conv(u))))`` for a norm in evaluation mode.

    Args:
        u: ``(N, K, H, W)``.
        identity: the shortcut, ``(N, C, H, W)``.
        conv: a 1x1 convolution with stride 1 and no bias, from K to C channels.
        norm: the batch norm after it.
        se: the SE block after that.

    Returns:
        ``(N, C, H, W)``.
    """
    u = in_autocast(u)
    weight = conv.weight.flatten(1).to(vector_dtype(u))
    parameters = *se.matrices(vector_dtype(u)), *norm_inputs(norm, u)
    with autocast_off(u):
        return _GatedProjection.apply(u, identity.to(u.dtype), weight, *parameters)


class _GatedProjection(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        u: Tensor,
        identity: Tensor,
        weight: Tensor,
        fc1: Tensor,
        fc1_bias: Tensor,
        fc2: Tensor,
        fc2_bias: Tensor,
        *norm: Any,
    ) -> Tensor:
        scale, shift = scale_and_shift(*norm)
        mean_u = u.mean((2, 3), dtype=weight.dtype)
        projected = mean_u @ weight.T
        z = torch.addcmul(shift, projected, scale)
        hidden, gate = excite(z, (fc1, fc1_bias), (fc2, fc2_bias))
        folded = (weight * scale[:, None])[..., None, None]
        y = F.conv2d(u, folded.to(u.dtype), shift.to(u.dtype))
        y = scale_add_relu_(y, gate, identity)
        _, _, mean, var, ctx.eps = norm
        ctx.save_for_backward(
            u, y, weight, fc1, fc2, mean, var, scale, shift, mean_u, projected, z, hidden, gate
        )
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        u, y, weight, fc1, fc2, mean, var, scale, shift, *rest = ctx.saved_tensors
        mean_u, projected, z, hidden, gate = rest
        with autocast_off(u):
            gradient, of_gated_shift, _ = relu_backward(gradient, y)
            # y = relu(identity + (s a W) u + s b): each image has a weight of its own.
            gated_scale = gate * scale
            gated_weight = (gated_scale[..., None] * weight)[..., None, None].to(u.dtype)
            of_u, of_gated_weight = _convolution_backward(gradient, u, gated_weight, weight.dtype)

            of_gated_scale = (of_gated_weight * weight).sum(2)
            of_gate = of_gated_scale * scale + of_gated_shift * shift
            of_z, of_excitation = excite_backward(of_gate, z, hidden, gate, fc1, fc2)
            # z = a W mean(u) + b
            of_projected = of_z * scale
            of_scale = (of_gated_scale * gate + of_z * projected).sum(0)
            of_shift = (of_gated_shift * gate + of_z).sum(0)
            of_weight = (of_gated_weight * gated_scale[..., None]).sum(0)
            of_weight.addmm_(of_projected.T, mean_u)
            of_mean_u = of_projected @ weight / (u.shape[2] * u.shape[3])
            of_u.add_(of_mean_u[..., None, None].to(u.dtype))
            of_norm = norm_gradients(of_scale, of_shift, mean, var, ctx.eps)
        return of_u, gradient, of_weight, *of_excitation, *of_norm, None, None, None


def _convolution_backward(
    gradient: Tensor, u: Tensor, weight: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Backward of a 1x1 convolution, image by image.

    Args:
        gradient: of the output, ``(N, C, H, W)``.
        u: ``(N, K, H, W)``.
        weight: of each image, ``(N, C, K, 1, 1)``.
        dtype: of the gradient of the weights.

    Returns:
        The gradients of ``u`` and of the weights, ``(N, C, K)``.
    """
    of_u, of_weight = torch.empty_like(u), weight.new_empty(weight.shape[:3], dtype=dtype)
    for n in range(len(u)):
        found = torch.ops.aten.convolution_backward(
            gradient[n : n + 1],
            u[n : n + 1],
            weight[n],
            None,
            (1, 1),
            (0, 0),
            (1, 1),
            False,
            (0, 0),
            1,
            [True, True, False],
        )
        of_u[n : n + 1], of_weight[n] = found[0], found[1].flatten(1)
    return of_u, of_weight
