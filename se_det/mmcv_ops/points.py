"""Bilinear interpolation at points, on the kernel of RoIAlign: a RoI of one sample is a point."""

import torch
import torchvision.ops  # noqa: F401  (registers the kernels used below as torch.ops.torchvision)
from torch import Tensor

FEATURE_PIXELS, ONE_SAMPLE, ALIGNED = 1.0, 1, True
OUTSIDE = -2


def rois_of(images: Tensor, corners: Tensor, opposite: Tensor) -> Tensor:
    """RoIs in feature pixels whose centres have half-integer coordinates.

    Args:
        images: index of the image that each lies in, ``(..., 1)``, of the corners' dtype.
        corners: x and y of the top left corner, ``(..., 2)``.
        opposite: x and y of the bottom right corner.

    Returns:
        ``(..., 5)``. What is not a number lies outside: the kernel would read anywhere in memory.
    """
    return torch.cat([images, corners, opposite], dim=-1).nan_to_num(nan=OUTSIDE)


def points_at(images: Tensor, places: Tensor) -> Tensor:
    """Points, as RoIs of one pixel's size around them.

    Args:
        images: as in `rois_of`.
        places: x and y in feature pixels whose centres have integer coordinates, ``(..., 2)``.

    Returns:
        ``(..., 5)``.
    """
    return rois_of(images, places, places + 1)


def interpolate(input: Tensor, points: Tensor) -> Tensor:
    """Features at points, by mmcv's rules: the border goes on for a pixel, beyond it lies 0.

    Args:
        input: ``(N, C, H, W)``.
        points: ``(P, 5)``, from `points_at`.

    Returns:
        ``(P, C)``.
    """
    values = torch.ops.torchvision.roi_align(
        input, points, FEATURE_PIXELS, 1, 1, ONE_SAMPLE, ALIGNED
    )
    return values.flatten(1)


def interpolate_backward(
    grad: Tensor, rois: Tensor, shape: tuple[int, ...], grid: tuple[int, int] = (1, 1)
) -> Tensor:
    """Gradient by the input, of that shape, of a grid of samples in each RoI.

    Args:
        grad: the gradient of each sample, which all samples of a RoI share, ``(P, C)``.
        rois: ``(P, 5)``, from `rois_of` or `points_at`.
        shape: ``(N, C, H, W)``.
        grid: samples down and across.
    """
    grad = grad[:, :, None, None].expand(-1, -1, *grid)
    return torch.ops.torchvision._roi_align_backward(
        grad, rois, FEATURE_PIXELS, *grid, *shape, ONE_SAMPLE, ALIGNED
    )


def slopes(input: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of `interpolate` by x and by y, each ``(P, C)``.

    Between two pixels the interpolation is a straight line, so they are differences of its ends.
    """
    images, places = points[:, :1], points[:, 1:3]
    result = []
    for axis, size in ((0, input.shape[3]), (1, input.shape[2])):
        start, end = places.clone(), places.clone()
        start[:, axis] = places[:, axis].floor()
        end[:, axis] = start[:, axis] + 1
        slope = interpolate(input, points_at(images, end)) - interpolate(
            input, points_at(images, start)
        )
        # The step to the 0 beyond the border is no slope.
        slope[(places[:, axis] < -1) | (places[:, axis] >= size)] = 0
        result.append(slope)
    return tuple(result)
