"""Deformable RoI pooling: RoIAlign whose bins move."""

from collections.abc import Iterator

import torch
from torch import Tensor

from se_det.mmcv_ops.points import interpolate, interpolate_backward, points_at, slopes
from se_det.mmcv_ops.roi_align import sampling_grids


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
        offset: ``(K, 2, pooled_height, pooled_width)``, how far each bin moves in x and in y, in
            widths and heights of its RoI times ``gamma``; or empty: none moves.
        output: ``(K, C, pooled_height, pooled_width)``.
        pooled_height: bins down a RoI.
        pooled_width: bins across a RoI.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: samples a bin and axis; 0 takes one per feature pixel.
        gamma: see ``offset``.
    """
    size = (pooled_height, pooled_width)
    output.zero_()
    for chosen, points, share in _samples(rois, offset, size, spatial_scale, sampling_ratio, gamma):
        values = share * interpolate(input, points)
        output[chosen] += values.view(-1, *size, input.shape[1]).movedim(-1, 1)


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
    for chosen, points, share in _samples(rois, offset, size, spatial_scale, sampling_ratio, gamma):
        grad = share * grad_output[chosen].movedim(1, -1).flatten(0, -2)
        grad_input += interpolate_backward(grad, points, grad_input.shape)
        if offset.numel():
            slope = torch.stack([(grad * by).sum(1) for by in slopes(input, points)])
            grad_offset[chosen] += reach[chosen] * slope.view(2, -1, *size).transpose(0, 1)


def _samples(
    rois, offset, size, spatial_scale, sampling_ratio, gamma
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """One sample of every bin at a time, for RoIs with as many samples a bin together.

    Yields:
        Which RoIs, ``(K,)`` bool; their bins' points; each one's share in its bin's average.
    """
    start = rois[:, 1:3] * spatial_scale - 0.5
    extent = rois[:, 3:] * spatial_scale - 0.5 - start
    rows, columns = (torch.arange(count, device=rois.device) for count in size)
    bins = torch.stack(torch.meshgrid(columns, rows, indexing='xy'))
    pitch = (extent / extent.new_tensor([size[1], size[0]]))[..., None, None]
    corner = start[..., None, None] + bins * pitch
    if offset.numel():
        corner = corner + gamma * extent[..., None, None] * offset
    image = rois[:, :1, None].expand(-1, *size)
    grids = sampling_grids(extent, size, sampling_ratio)
    for across, down in grids.clamp(min=0).unique(dim=0).tolist():
        chosen = (grids == grids.new_tensor([across, down])).all(1)
        for i in range(down):
            for j in range(across):
                place = extent.new_tensor([(j + 0.5) / across, (i + 0.5) / down])[:, None, None]
                x, y = (corner[chosen] + place * pitch[chosen]).unbind(1)
                yield chosen, points_at(image[chosen], x, y).flatten(0, -2), 1 / (across * down)
