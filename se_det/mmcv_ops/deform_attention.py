"""Multi-scale deformable attention, which mmcv computes in plain torch too."""

import torch
from torch import Tensor


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_loc: Tensor,
    attn_weight: Tensor,
    im2col_step: int,
) -> Tensor:
    """Multi-scale deformable attention (arXiv 2010.04159, equation 3).

    Args:
        value: features of all levels, one after another, ``(N, sum of H * W, heads, D)``.
        spatial_shapes: H and W of each level, ``(levels, 2)`` int64.
        level_start_index: follows from ``spatial_shapes``; not used.
        sampling_loc: x and y of each sample, from 0 to 1 over its level,
            ``(N, queries, heads, levels, points, 2)``.
        attn_weight: weight of each sample, ``(N, queries, heads, levels, points)``.
        im2col_step: batch size of mmcv's kernel, not used.

    Returns:
        ``(N, queries, heads * D)``.
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    sizes = spatial_shapes.tolist()
    return multi_scale_deformable_attn_pytorch(value, sizes, sampling_loc, attn_weight).to(value)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_loc: Tensor,
    attn_weight: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Gradient of `ms_deform_attn_forward`, written into the three ``grad_`` tensors."""
    leaves = [tensor.detach().requires_grad_() for tensor in (value, sampling_loc, attn_weight)]
    with torch.enable_grad():
        result = ms_deform_attn_forward(
            leaves[0], spatial_shapes, level_start_index, *leaves[1:], im2col_step
        )
    grads = torch.autograd.grad(result, leaves, grad_output)
    for into, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        into.copy_(grad)
