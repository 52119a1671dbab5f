"""Deformable RoI pooling: RoIAlign with an offset per bin."""

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from se_det.mmcv_ops.points import interpolate, interpolate_backward, points_at, rois_of, slopes


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Deformable RoI pooling (arXiv 1703.06211, section 2.2), written into ``output``.

    Args:
        input: features, ``(N, C, H, W)``.
        rois: ``(K, 5)``, image index, then x1, y1, x2, y2 in image pixels.
        offset: ``(K, 2, pooled_height, pooled_width)``, offset of each bin in x and y, relative to
            the width and height of its RoI times ``gamma``; empty for no offsets.
        output: ``(K, C, pooled_height, pooled_width)``.
        pooled_height: rows of bins.
        pooled_width: columns of bins.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: samples per bin along each axis; 0 for one per feature pixel.
        gamma: see ``offset``.
    """
    size = (pooled_height, pooled_width)
    output.zero_()
    for chosen, bins, grid in _bins(rois, offset, size, spatial_scale, sampling_ratio, gamma):
        total = sum(interpolate(input, points) for points in _samples(bins, grid))
        average = (total / prod(grid)).to(output)  # float32 under autocast
        output[chosen] = average.view(-1, *size, input.shape[1]).movedim(-1, 1)


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Gradients of `deform_roi_pool_forward`, added to ``grad_input`` and ``grad_offset``."""
    size = (pooled_height, pooled_width)
    reach = gamma * spatial_scale * (rois[:, 3:] - rois[:, 1:3])[..., None, None]
    for chosen, bins, grid in _bins(rois, offset, size, spatial_scale, sampling_ratio, gamma):
        grad = (grad_output[chosen] / prod(grid)).movedim(1, -1).flatten(0, -2)
        grad_input += interpolate_backward(grad, bins, grad_input.shape, grid)
        if offset.numel():
            slope = sum(
                torch.stack([(grad * by).sum(1) for by in slopes(input, points)], dim=1)
                for points in _samples(bins, grid)
            )
            grad_offset[chosen] += reach[chosen] * slope.view(-1, *size, 2).movedim(-1, 1)


def _bins(
    rois, offset, size, spatial_scale, sampling_ratio, gamma
) -> Iterator[tuple[Tensor, Tensor, tuple[int, int]]]:
    """The bins with their offsets, grouped by RoIs with the same number of samples per bin.

    Yields:
        A mask of the RoIs, ``(K,)`` bool; their bins as RoIs in feature pixels; rows and columns of
        samples in a bin.
    """
    start = rois[:, 1:3] * spatial_scale
    extent = rois[:, 3:] * spatial_scale - start
    grids = _sampling_grids(extent, size, sampling_ratio).clamp(min=0)
    rows, columns = (torch.arange(count, device=rois.device) for count in size)
    places = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), dim=-1)
    extent = extent[:, None, None]
    pitch = extent / extent.new_tensor([size[1], size[0]])
    corners = start[:, None, None] + places * pitch
    if offset.numel():
        corners = corners + gamma * extent * offset.movedim(1, -1)
    images = rois[:, :1, None, None].expand(-1, *size, 1)
    bins = rois_of(images, corners, corners + pitch)
    for across, down in grids.unique(dim=0).tolist():
        if across and down:
            chosen = (grids == grids.new_tensor([across, down])).all(1)
            yield chosen, bins[chosen].flatten(0, -2), (down, across)


def _sampling_grids(extent, size, sampling_ratio) -> Tensor:
    """Columns and rows of samples in a bin, ``(K, 2)`` int64, for RoIs of this width and height."""
    if sampling_ratio > 0:
        return extent.new_full(extent.shape, sampling_ratio, dtype=torch.int64)
    return (extent / extent.new_tensor([size[1], size[0]])).ceil().long()


def _samples(bins, grid) -> Iterator[Tensor]:
    """Iterate over the samples of a bin, for all bins at once, as points."""
    images, corners = bins[:, :1], bins[:, 1:3]
    extent = bins[:, 3:] - corners
    down, across = grid
    for i in range(down):
        for j in range(across):
            share = extent.new_tensor([(j + 0.5) / across, (i + 0.5) / down])
            yield points_at(images, corners + share * extent - 0.5)
