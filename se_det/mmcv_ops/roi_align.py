"""RoIAlign with average or maximum pooling."""

import torch
import torch.nn.functional as F
import torchvision.ops  # noqa: F401  (registers the kernels used below as torch.ops.torchvision)
from torch import Tensor

from se_det.mmcv_ops.points import interpolate_backward, points_at

ROI_ALIGN_MAXIMUM = 0


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (arXiv 1703.06870, section 3), written into ``output``.

    Args:
        input: features, ``(N, C, H, W)``.
        rois: ``(K, 5)``, image index, then x1, y1, x2, y2 in image pixels.
        output: ``(K, C, aligned_height, aligned_width)``.
        argmax_y: shape of ``output``; overwritten with the position of a bin's maximum, in feature
            pixels. Not used with the average.
        argmax_x: see ``argmax_y``.
        aligned_height: rows of bins.
        aligned_width: columns of bins.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: samples per bin along each axis; 0 for one per feature pixel.
        pool_mode: 1 for the average of a bin's samples, 0 for their maximum.
        aligned: shift by half a pixel, so that pixel centres have half-integer coordinates.
    """
    size = (aligned_height, aligned_width)
    if pool_mode != ROI_ALIGN_MAXIMUM:
        output.copy_(_align(input, rois, spatial_scale, *size, sampling_ratio, aligned))
        return
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0)
    start, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        extent = extent.clamp(min=1)
    grids = sampling_grids(extent, size, sampling_ratio).clamp(min=1)
    for grid in grids.unique(dim=0):
        chosen = (grids == grid).all(1)
        across, down = grid.tolist()
        height, width = aligned_height * down, aligned_width * across
        # Align with one sample per bin and as many bins as samples: this returns every sample.
        samples = _align(input, rois[chosen], spatial_scale, height, width, 1, aligned)
        values, index = F.max_pool2d(samples, (down, across), return_indices=True)
        x, y = start[chosen, :, None, None, None].unbind(1)
        pitch_x, pitch_y = extent[chosen, :, None, None, None].unbind(1)
        output[chosen] = values.to(output)
        argmax_x[chosen] = x + (index % width).to(x).add(0.5) * pitch_x / width
        argmax_y[chosen] = y + (index // width).to(y).add(0.5) * pitch_y / height


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of `roi_align_forward` by its input, added to ``grad_input`` ``(N, C, H, W)``."""
    if pool_mode == ROI_ALIGN_MAXIMUM:
        # The position of the maximum differs per channel, so each channel becomes an image.
        images, channels, height, width = grad_input.shape
        # float16 has all integers only up to 2048, too few for the index of a channel.
        exact = torch.promote_types(rois.dtype, torch.float32)
        plane = rois[:, :1].to(exact) * channels + torch.arange(channels, device=rois.device)
        plane = plane[:, :, None, None].expand_as(argmax_x)
        places = torch.stack([argmax_x, argmax_y], dim=-1)
        points = points_at(plane[..., None], places.to(exact)).flatten(0, -2)
        planes = (images * channels, 1, height, width)
        grad_planes = interpolate_backward(grad_output.reshape(-1, 1).to(exact), points, planes)
        grad_input += grad_planes.view_as(grad_input)
        return
    size = (aligned_height, aligned_width)
    grad_input += torch.ops.torchvision._roi_align_backward(
        grad_output, rois, spatial_scale, *size, *grad_input.shape, sampling_ratio, aligned
    )


def sampling_grids(extent: Tensor, size: tuple[int, int], sampling_ratio: int) -> Tensor:
    """Number of samples in a bin of RoIAlign.

    Args:
        extent: width and height of each RoI in feature pixels, ``(K, 2)``.
        size: rows and columns of bins.
        sampling_ratio: as in `roi_align_forward`.

    Returns:
        Columns and rows of samples, ``(K, 2)`` int64.
    """
    if sampling_ratio > 0:
        return extent.new_full(extent.shape, sampling_ratio, dtype=torch.int64)
    return (extent / extent.new_tensor([size[1], size[0]])).ceil().long()


def _align(input, rois, spatial_scale, height, width, sampling_ratio, aligned) -> Tensor:
    """RoIAlign with average pooling."""
    return torch.ops.torchvision.roi_align(
        input, rois, spatial_scale, height, width, sampling_ratio, aligned
    )
