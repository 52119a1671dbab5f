"""``relu(identity + gate * residual)``, the end of an SE block, without tensors that it can spare.

Two ways. Where the residual ends in a 1x1 convolution and a batch norm whose statistics stand
still, `gated_projection` keeps neither's output: the squeeze is the mean of a linear map, which is
the linear map of the mean, so the gate is known before the convolution and can go into its weight.
Elsewhere `gated_residual` does without the residual in the backward pass: wherever the output y is
positive, ``gate * residual = y - identity``, which is all that the gate's gradient asks for.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from se_det.layers.folded_convolution import (
    norm_gradients,
    norm_inputs,
    scale_and_shift,
)
from se_det.layers.kernels import kernels_for
from se_det.layers.memory_format import channels_first, chooses_layout, laid_like, lies_last
from se_det.layers.precision import as_in_autocast, is_half, vector_dtype, without_autocast
from se_det.layers.projection import gated, input_gradient, project, weight_gradients
from se_det.layers.relu_gradient import relu_gradient
from se_det.layers.squeeze_excitation import SqueezeExcitation


def gated_residual(identity: Tensor, residual: Tensor, logits: Tensor) -> Tensor:
    """``relu(identity + sigmoid(logits) * residual)``.

    Args:
        identity: the shortcut, ``(N, C, H, W)``.
        residual: the residual branch, of the same shape; not kept for the backward pass, except
            in half precision, where ``y - identity`` has too few digits. In float32 it has enough
            for a residual down to 1e-3 of the identity.
        logits: of the gate, ``(N, C, 1, 1)``.

    Returns:
        ``(N, C, H, W)``, in the precision of ``residual``; on a CPU it lies like that, too.
    """
    if chooses_layout(residual):
        identity = laid_like(residual, identity)  # the next block reads what lies like both
    with torch.autocast(residual.device.type, enabled=False):
        return _GatedResidual.apply(identity.to(residual.dtype), residual, logits)


def gated_projection(
    u: Tensor,
    identity: Tensor,
    conv: nn.Conv2d,
    norm: _BatchNorm,
    se: SqueezeExcitation,
    contiguous: bool,
    spare: bool,
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
        contiguous: whether the result is to be contiguous, and kept so, even where ``u`` is not.
        spare: whether the result may take the place of the identity; not with ``contiguous``.

    Returns:
        ``(N, C, H, W)``, in the precision that autocast sets.
    """
    u = as_in_autocast(u)
    dtype = vector_dtype(u)
    fully_connected = (
        parameter.to(dtype)
        for parameter in (
            se.fc1.weight.flatten(1),
            se.fc1.bias,
            se.fc2.weight.flatten(1),
            se.fc2.bias,
        )
    )
    weight = conv.weight.flatten(1).to(dtype)
    inputs = u, identity.to(u.dtype), weight, *norm_inputs(norm, dtype), *fully_connected
    with torch.autocast(u.device.type, enabled=False):
        if torch.compiler.is_compiling():
            y, *_ = _project(*inputs, spare=False)
            return y
        return _GatedProjection.apply(contiguous, spare, *inputs)


class _GatedResidual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, identity: Tensor, residual: Tensor, logits: Tensor) -> Tensor:
        gate = logits.to(vector_dtype(logits)).sigmoid()
        kernels = kernels_for(residual)
        if kernels:
            y = kernels.scale_add_relu(residual, scale=gate.flatten(1), identity=identity)
        else:
            y = torch.addcmul(identity, residual, gate.to(residual.dtype)).relu_()
        ctx.keeps_residual = is_half(residual)
        ctx.save_for_backward(residual if ctx.keeps_residual else identity, y, gate)
        return y

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kept, y, gate = ctx.saved_tensors
        counted = dict(factor=kept) if ctx.keeps_residual else dict(identity=kept)
        gradient, products = relu_gradient(gradient, y, **counted)
        # Of the logits: (1 - s) s times the sum of g v, where y - x is s v.
        share = (1 - gate) * gate if ctx.keeps_residual else 1 - gate
        logits_gradient = (share * products[:, :, None, None]).to(gradient.dtype)
        return gradient, gradient * gate.to(gradient.dtype), logits_gradient


def _project(
    u: Tensor, identity: Tensor, weight: Tensor, *parameters: Any, spare: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What `gated_projection` returns, and the vectors that led to it.

    Those are ``mean(u)`` ``(N, K)``, ``W mean(u)`` ``(N, C)``, ``z`` ``(N, C)``, the hidden layer
    ``(N, C / r)``, ``s`` ``(N, C)``, ``a`` ``(C,)`` and ``b`` ``(C,)``.
    """
    *norm, fc1_weight, fc1_bias, fc2_weight, fc2_bias = parameters
    scale, shift = scale_and_shift(*norm)
    mean_u = u.mean((2, 3), dtype=weight.dtype)
    projected = F.linear(mean_u, weight)
    squeezed = torch.addcmul(shift, projected, scale)
    hidden = F.linear(squeezed, fc1_weight, fc1_bias).relu()
    gate = F.linear(hidden, fc2_weight, fc2_bias).sigmoid()
    y = project(u, weight * scale.unsqueeze(1), shift, gate, identity, spare)
    return y, (mean_u, projected, squeezed, hidden, gate, scale, shift)


class _GatedProjection(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        contiguous: bool,
        spare: bool,
        u: Tensor,
        identity: Tensor,
        weight: Tensor,
        *parameters: Any,
    ) -> Tensor:
        y, vectors = _project(u, identity, weight, *parameters, spare=spare)
        if y is identity:
            ctx.mark_dirty(y)
        if contiguous and lies_last(y):
            y = channels_first(y)
        _, _, mean, var, ctx.eps, fc1_weight, _, fc2_weight, _ = parameters
        ctx.save_for_backward(u, y, weight, mean, var, fc1_weight, fc2_weight, *vectors)
        return y

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        u, y, weight, mean, var, fc1_weight, fc2_weight, *vectors = ctx.saved_tensors
        mean_u, projected, squeezed, hidden, gate, scale, shift = vectors
        gradient, gated_shift_gradient = relu_gradient(laid_like(u, gradient), y)
        per_image = weight_gradients(gradient, u, weight.dtype)

        # From the gated weight, s a W, and the gated shift, s b, to the gate.
        row_gradient = (per_image * weight).sum(2)
        gate_gradient = row_gradient * scale + gated_shift_gradient * shift
        # Through the excitation, s = sigmoid(W2 relu(W1 z)).
        logit_gradient = gate_gradient * gate * (1 - gate)
        hidden_gradient = (logit_gradient @ fc2_weight) * (hidden > 0)
        squeezed_gradient = hidden_gradient @ fc1_weight
        # Through the squeeze, z = a W mean(u) + b.
        projected_gradient = squeezed_gradient * scale
        scale_gradient = (row_gradient * gate + squeezed_gradient * projected).sum(0)
        shift_gradient = (gated_shift_gradient * gate + squeezed_gradient).sum(0)

        mean_gradient = (projected_gradient @ weight) / (u.shape[2] * u.shape[3])
        gated_scale = gate * scale
        gated_weight = gated(weight, gated_scale, u.dtype)
        u_gradient = input_gradient(gradient, u, gated_weight, mean_gradient)
        conv_gradient = per_image.mul_(gated_scale.unsqueeze(2))
        conv_gradient = conv_gradient[0] if len(u) == 1 else conv_gradient.sum(0)
        return (
            None,
            None,
            u_gradient,
            gradient,
            conv_gradient.addmm_(projected_gradient.T, mean_u),
            *norm_gradients(scale_gradient, shift_gradient, mean, var, ctx.eps),
            hidden_gradient.T @ squeezed,
            hidden_gradient.sum(0),
            logit_gradient.T @ hidden,
            logit_gradient.sum(0),
        )
