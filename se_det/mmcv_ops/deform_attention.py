"""Multi-scale deformable attention."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
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
        value: features of all levels, ``(N, sum of H * W, heads, D)``.
        spatial_shapes: H and W of each level, ``(levels, 2)`` int64.
        level_start_index: index in ``value`` at which each level begins, ``(levels,)`` int64.
        sampling_loc: x and y of each sample, from 0 to 1 over its level,
            ``(N, queries, heads, levels, points, 2)``.
        attn_weight: weight of each sample, ``(N, queries, heads, levels, points)``.
        im2col_step: batch size of mmcv's kernel, not used.

    Returns:
        ``(N, queries, heads * D)``.
    """
    result = sum(
        _attend(features, sampling_loc[:, :, :, level], attn_weight[:, :, :, level])
        for level, features in _levels(value, spatial_shapes, level_start_index)
    )
    return result.unflatten(0, value.shape[::2]).permute(0, 3, 1, 2).flatten(2).to(value)


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
    grad_output = grad_output.unflatten(2, value.shape[2:]).permute(0, 2, 3, 1).flatten(0, 1)
    levels = _levels(value, spatial_shapes, level_start_index)
    grad_levels = _levels(grad_value, spatial_shapes, level_start_index)
    for (level, features), (_, grad_features) in zip(levels, grad_levels, strict=True):
        leaves = [features, sampling_loc[:, :, :, level], attn_weight[:, :, :, level]]
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        with torch.enable_grad():
            grads = torch.autograd.grad(_attend(*leaves), leaves, grad_output)
        grad_features.copy_(grads[0])
        grad_sampling_loc[:, :, :, level] = grads[1]
        grad_attn_weight[:, :, :, level] = grads[2]


def _levels(value, spatial_shapes, level_start_index) -> Iterator[tuple[int, Tensor]]:
    """Index and features of each level; the features are a view ``(N, heads, D, H, W)``."""
    shapes, starts = spatial_shapes.tolist(), level_start_index.tolist()
    for level, ((height, width), start) in enumerate(zip(shapes, starts, strict=True)):
        features = value[:, start : start + height * width].unflatten(1, (height, width))
        yield level, features.permute(0, 3, 4, 1, 2)


def _attend(features, locations, weights) -> Tensor:
    """Weighted sum over the samples of one level, ``(N * heads, D, queries)``."""
    grid = 2 * locations.transpose(1, 2).flatten(0, 1) - 1
    sampled = F.grid_sample(features.flatten(0, 1), grid, align_corners=False)
    return (sampled * weights.transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
