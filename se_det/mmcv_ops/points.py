"""Bilinear interpolation at points, on the kernel of RoIAlign: a RoI of one sample is a point."""

import torch
import torchvision.ops  # noqa: F401  (registers the kernels used below as torch.ops.torchvision)
from torch import Tensor

AS_POINTS = (1.0, 1, 1)  # spatial scale, bins down, bins across
ONE_SAMPLE, HALF_PIXEL = 1, True


def points_at(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Points, as RoIs of one pixel's size around them.

    Args:
        image: index of the image that each lies in, of the points' dtype.
        x: where it lies, in feature pixels whose centres have integer coordinates.
        y: see ``x``.

    Returns:
        The same shape with a last dimension of 5.
    """
    return torch.stack([image, x, y, x + 1, y + 1], dim=-1)


def interpolate(input: Tensor, points: Tensor) -> Tensor:
    """Features at points, by mmcv's rules: the border goes on for a pixel, beyond it lies 0.

    Args:
        input: ``(N, C, H, W)``.
        points: ``(P, 5)``, from `points_at`.

    Returns:
        ``(P, C)``.
    """
    values = torch.ops.torchvision.roi_align(input, points, *AS_POINTS, ONE_SAMPLE, HALF_PIXEL)
    return values.flatten(1)


def interpolate_backward(grad: Tensor, points: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Gradient of `interpolate` by its input, which has that shape."""
    return torch.ops.torchvision._roi_align_backward(
        grad[:, :, None, None], points, *AS_POINTS, *shape, ONE_SAMPLE, HALF_PIXEL
    )


def slopes(input: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of `interpolate` by x and by y, each ``(P, C)``.

    Between two pixels the interpolation is a straight line, so they are differences of its ends.
    """
    image, x, y = points[:, :3].unbind(1)
    left, top = x.floor(), y.floor()
    by_x = interpolate(input, points_at(image, left + 1, y)) - interpolate(
        input, points_at(image, left, y)
    )
    by_y = interpolate(input, points_at(image, x, top + 1)) - interpolate(
        input, points_at(image, x, top)
    )
    height, width = input.shape[2:]
    by_x[(x < -1) | (x >= width)] = 0  # the step to the 0 beyond the border is no slope
    by_y[(y < -1) | (y >= height)] = 0
    return by_x, by_y
