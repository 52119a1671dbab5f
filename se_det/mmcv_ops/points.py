"""Bilinear interpolation at points, by RoIAlign's kernel: a RoI with one sample is a point."""

import torch
import torchvision.ops  # noqa: F401  (registers the kernels used below as torch.ops.torchvision)
from torch import Tensor

FEATURE_PIXELS, ONE_SAMPLE, ALIGNED = 1.0, 1, True
OUTSIDE = -2


def rois_of(images: Tensor, corners: Tensor, opposite: Tensor) -> Tensor:
    """RoIs in feature pixels whose centres have half-integer coordinates.

    Args:
        images: index of the image of each RoI, ``(..., 1)``, of the corners' dtype.
        corners: x and y of the top left corner, ``(..., 2)``.
        opposite: x and y of the bottom right corner.

    Returns:
        ``(..., 5)``. NaN is replaced by a position outside the image: the kernel would read from an
        arbitrary address.
    """
    return torch.cat([images, corners, opposite], dim=-1).nan_to_num(nan=OUTSIDE)


def points_at(images: Tensor, places: Tensor) -> Tensor:
    """Convert points to RoIs of one pixel around them.

    Args:
        images: as in `rois_of`.
        places: x and y in feature pixels whose centres have integer coordinates, ``(..., 2)``.

    Returns:
        ``(..., 5)``.
    """
    return rois_of(images, places, places + 1)


def interpolate(input: Tensor, points: Tensor) -> Tensor:
    """Features at points. As in mmcv, the border extends by one pixel; beyond, features are 0.

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
    grad: Tensor, rois: Tensor, shape: tuple[int, ...], grid: tuple[int, int]
) -> Tensor:
    """Gradient of the interpolation by its input, for a grid of samples in each RoI.

    Args:
        grad: the gradient of each sample, equal for all samples of a RoI, ``(P, C)``.
        rois: ``(P, 5)``, from `rois_of`.
        shape: of the input, ``(N, C, H, W)``.
        grid: rows and columns of samples.

    Returns:
        A tensor of ``shape``.
    """
    grad = grad[:, :, None, None].expand(-1, -1, *grid)
    return torch.ops.torchvision._roi_align_backward(
        grad, rois, FEATURE_PIXELS, *grid, *shape, ONE_SAMPLE, ALIGNED
    )


def slopes(input: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of `interpolate` by x and by y, each ``(P, C)``.

    The interpolation is linear between two pixels, so the derivative is their difference.
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
        # Beyond the border, features are constant 0.
        slope[(places[:, axis] < -1) | (places[:, axis] >= size)] = 0
        result.append(slope)
    return tuple(result)
