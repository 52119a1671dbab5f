"""``relu(identity + gate * residual)``, the end of an SE block, without tensors that it can spare.

Two ways. Where the residual ends in a 1x1 convolution and a batch norm whose statistics stand
still, `gated_projection` needs neither's output: the squeeze is the mean of a linear map, which is
the linear map of the mean, so the gate is known before the convolution and goes into its weight.
Elsewhere `gated_residual` does without the residual in the backward pass: wherever the output y is
positive, ``gate * residual = y - identity``, which is all that the gate's gradient asks for.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from se_det.layers.folded_convolution import norm_inputs, scale_and_shift
from se_det.layers.recomputation import Recomputed
from se_det.layers.squeeze_excitation import SqueezeExcitation


def gated_residual(identity: Tensor, residual: Tensor, logits: Tensor) -> Tensor:
    """``relu(identity + sigmoid(logits) * residual)``.

    Args:
        identity: the shortcut, ``(N, C, H, W)``.
        residual: the residual branch, of the same shape; not kept for the backward pass.
        logits: of the gate, ``(N, C, 1, 1)``.
    """
    return _GatedResidual.apply(identity, residual, logits)


def gated_projection(
    u: Tensor, identity: Tensor, conv: nn.Conv2d, norm: _BatchNorm, se: SqueezeExcitation
) -> Tensor:
    """``relu(identity + se(norm(conv(u))))`` for a norm in evaluation mode.

    With ``norm(conv(u)) = a W u + b``, the squeeze is ``z = a W mean(u) + b`` and the result
    ``relu(identity + (s a W) u + s b)``, where ``s`` is the gate of ``z``.

    Args:
        u: what the convolution reads, ``(N, K, H, W)``.
        identity: the shortcut, ``(N, C, H, W)``.
        conv: a 1x1 convolution with stride 1 and no bias, from K to C channels.
        norm: the batch norm behind it.
        se: the block that follows.

    Returns:
        ``(N, C, H, W)``.
    """
    fully_connected = se.fc1.weight, se.fc1.bias, se.fc2.weight, se.fc2.bias
    return _GatedProjection.apply(u, identity, *norm_inputs(conv, norm), *fully_connected)


def project(
    mean_u: Tensor,
    conv_weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_mean: Tensor,
    norm_var: Tensor,
    eps: float,
    fc1_weight: Tensor,
    fc1_bias: Tensor,
    fc2_weight: Tensor,
    fc2_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """The projection of each image, its gate included: ``s a W`` ``(N, C, K)``, ``s b`` ``(N, C)``.

    Args:
        mean_u: the mean over H x W of what the convolution reads, ``(N, K)``.
        conv_weight: ``(C, K, 1, 1)``.
        norm_weight: of the batch norm, as the four that follow.
        norm_bias: ``(C,)``.
        norm_mean: ``(C,)``.
        norm_var: ``(C,)``.
        eps: its epsilon.
        fc1_weight: of the SE block, as the three that follow.
        fc1_bias: ``(C / r,)``.
        fc2_weight: ``(C, C / r, 1, 1)``.
        fc2_bias: ``(C,)``.
    """
    scale, shift = scale_and_shift(norm_weight, norm_bias, norm_mean, norm_var, eps)
    weight = conv_weight.flatten(1)
    squeezed = F.linear(mean_u, weight) * scale + shift
    hidden = F.linear(squeezed, fc1_weight.flatten(1), fc1_bias).relu()
    gate = F.linear(hidden, fc2_weight.flatten(1), fc2_bias).sigmoid()
    return (gate * scale).unsqueeze(2) * weight, gate * shift


class _GatedResidual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, identity: Tensor, residual: Tensor, logits: Tensor) -> Tensor:
        gate = logits.sigmoid()
        y = torch.addcmul(identity, residual, gate).relu_()
        ctx.save_for_backward(identity, y, gate)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        identity, y, gate = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
        gated = torch.sub(y, identity).mul_(gradient).sum((2, 3), keepdim=True)
        return gradient, gradient * gate, (1 - gate) * gated


class _GatedProjection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, u: Tensor, identity: Tensor, *parameters: Any) -> Tensor:
        mean_u = u.mean((2, 3))
        weight, bias = project(mean_u, *parameters)
        y = (identity + bias[:, :, None, None]).flatten(2)
        y.baddbmm_(weight, u.flatten(2)).relu_()
        y = y.unflatten(2, identity.shape[2:])
        *norm, ctx.eps, fc1_weight, fc1_bias, fc2_weight, fc2_bias = parameters
        ctx.save_for_backward(u, mean_u, y, *norm, fc1_weight, fc1_bias, fc2_weight, fc2_bias)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        u, mean_u, y, *parameters = ctx.saved_tensors
        parameters.insert(5, ctx.eps)
        gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
        per_channel = gradient.flatten(2)
        projection = Recomputed(project, (mean_u, *parameters), (True, *ctx.needs_input_grad[2:]))
        weight, _ = projection.outputs
        weight_gradient = torch.bmm(per_channel, u.flatten(2).transpose(1, 2))
        mean_gradient, *parameter_gradients = projection.gradients(
            (weight_gradient, per_channel.sum(2))
        )
        u_gradient = torch.empty_like(u).flatten(2)
        u_gradient.copy_((mean_gradient / u_gradient.shape[2]).unsqueeze(2).expand_as(u_gradient))
        u_gradient.baddbmm_(weight.transpose(1, 2), per_channel)
        return u_gradient.unflatten(2, u.shape[2:]), gradient, *parameter_gradients
