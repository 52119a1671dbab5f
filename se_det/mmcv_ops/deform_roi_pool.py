"""Deformable RoI pooling: RoIAlign with an offset per bin, by torch's bilinear sampling."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

OUTSIDE = -2


def deform_roi_pool_forward(
    input: Tensor, rois: Tensor, offset: Tensor, output: Tensor, **geometry: Any
) -> None:
    """Deformable RoI pooling (arXiv 1703.06211, section 2.2), written into ``output``.

    Args:
        input: features, ``(N, C, H, W)``.
        rois: ``(K, 5)``, image index, then x1, y1, x2, y2 in image pixels.
        offset: ``(K, 2, pooled_height, pooled_width)``, offset of each bin in x and y, relative to
            the width and height of its RoI times ``gamma``; empty for no offsets.
        output: ``(K, C, pooled_height, pooled_width)``.
        **geometry: ``pooled_height`` and ``pooled_width``, rows and columns of bins;
            ``spatial_scale``, feature pixels per image pixel; ``sampling_ratio``, samples per bin
            along each axis, 0 for one per feature pixel; and ``gamma``.
    """
    output.copy_(_pool(input, rois, offset, **geometry))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    **geometry: Any,
) -> None:
    """Gradients of `deform_roi_pool_forward`, added to ``grad_input`` and ``grad_offset``."""
    leaves = [tensor.detach().requires_grad_() for tensor in (input, offset)]
    with torch.enable_grad():
        pooled = _pool(leaves[0], rois, leaves[1], **geometry)
    if pooled.requires_grad:
        grads = torch.autograd.grad(pooled, leaves, grad_output, materialize_grads=True)
        grad_input += grads[0]
        grad_offset += grads[1]


def _pool(
    input, rois, offset, pooled_height, pooled_width, spatial_scale, sampling_ratio, gamma
) -> Tensor:
    """The mean of the samples in each bin, ``(K, C, pooled_height, pooled_width)``."""
    start = rois[:, None, None, 1:3] * spatial_scale
    extent = rois[:, None, None, 3:] * spatial_scale - start
    pitch = extent / extent.new_tensor([pooled_width, pooled_height])
    corners = start + _places(pooled_width, pooled_height, pitch) * pitch
    if offset.numel():
        corners = corners + gamma * extent * offset.movedim(1, -1)
    grids = pitch[:, 0, 0].ceil().clamp(min=0)
    if sampling_ratio > 0:
        grids = torch.full_like(grids, sampling_ratio)
    pooled = input.new_zeros(len(rois), input.shape[1], pooled_height, pooled_width)
    # RoIs of the same image with the same number of samples in a bin, at once.
    kinds = torch.cat([rois[:, :1], grids], dim=1).long()
    for image, across, down in kinds.unique(dim=0).tolist():
        if across and down:
            chosen = (kinds == kinds.new_tensor([image, across, down])).all(1)
            corner, pitches = (x[chosen][:, :, :, None, None] for x in (corners, pitch))
            shares = (_places(across, down, pitch) + 0.5) / pitch.new_tensor([across, down])
            samples = _interpolate(input[image], corner + shares * pitches - 0.5)
            pooled[chosen] = samples.mean((-2, -1)).movedim(0, 1).to(pooled)
    return pooled


def _places(columns, rows, like) -> Tensor:
    """Column and row of each cell of a grid, ``(rows, columns, 2)``."""
    x, y = (torch.arange(count).to(like) for count in (columns, rows))
    return torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)


def _interpolate(features, points) -> Tensor:
    """Features at points. As in mmcv, the border extends by one pixel; beyond, features are 0.

    Args:
        features: ``(C, H, W)``.
        points: x and y in pixels whose centres have integer coordinates, ``(..., 2)``.

    Returns:
        ``(C, ...)``.
    """
    points = points.nan_to_num(nan=OUTSIDE)
    size = points.new_tensor([features.shape[2], features.shape[1]])
    grid = ((2 * points + 1) / size - 1).to(features).view(1, 1, -1, 2)
    values = F.grid_sample(features[None], grid, padding_mode='border', align_corners=False)
    is_inside = ((points >= -1) & (points <= size)).all(-1)
    return torch.where(is_inside, values.view(-1, *is_inside.shape), 0)
