"""RoIAlign with average pooling."""

import torch
import torchvision.ops  # noqa: F401  (registers the kernels used below as torch.ops.torchvision)
from torch import Tensor

AVERAGE = 1


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
        argmax_y: of maximum pooling, not used; as ``argmax_x``.
        argmax_x: see ``argmax_y``.
        aligned_height: rows of bins.
        aligned_width: columns of bins.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: samples per bin along each axis; 0 for one per feature pixel.
        pool_mode: 1 for the average of a bin's samples.
        aligned: shift by half a pixel, so that pixel centres have half-integer coordinates.

    Raises:
        NotImplementedError: ``pool_mode`` is not 1. No config of MMDetection sets another.
    """
    if pool_mode != AVERAGE:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' needs mmcv's compiled extension: pip uninstall "
            'mmcv-lite, then pip install "se_det[full]".'
        )
    size = (aligned_height, aligned_width)
    output.copy_(
        torch.ops.torchvision.roi_align(input, rois, spatial_scale, *size, sampling_ratio, aligned)
    )


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
    size = (aligned_height, aligned_width)
    grad_input += torch.ops.torchvision._roi_align_backward(
        grad_output, rois, spatial_scale, *size, *grad_input.shape, sampling_ratio, aligned
    )
