"""Images as MMDetection takes and resizes them, with OpenCV or with NumPy alone."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from se_det.errors import UsageError

if find_spec('cv2'):
    import cv2
else:
    cv2 = None
ONE = 1 << 11  # OpenCV's weights have 11 bits


Image = str | Path | np.ndarray  # what a detector takes


def check_array(image: np.ndarray, channels: int, types: Sequence[str] = ('uint8',)) -> None:
    """Check an image that is given as an array.

    Args:
        image: (H, W, channels); a grayscale image may be (H, W).
        channels: that the detector takes.
        types: of its values that the detector takes.

    Raises:
        UsageError: it has another shape or type.
    """
    found = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or found != channels or image.dtype not in types or not image.size:
        kind = '(H, W) of gray values' if channels == 1 else f'(H, W, {channels}) in BGR'
        raise UsageError(
            f'The detector takes images {kind} of {" or ".join(types)}, as cv2.imread returns '
            f'them; found an array {image.shape} of {image.dtype}. Convert it: cv2.cvtColor, '
            '.astype.'
        )


def resize(image: np.ndarray, scale: Sequence[int], keep_ratio: bool) -> np.ndarray:
    """Resize an image (H, W, C) uint8 as mmcv's Resize does.

    Args:
        image: of any size.
        scale: width and height; with ``keep_ratio``, the long and the short edge at most.
        keep_ratio: keep the ratio of the edges.
    """
    height, width = image.shape[:2]
    if keep_ratio:
        factor = min(max(scale) / max(height, width), min(scale) / min(height, width))
        scale = (int(width * factor + 0.5), int(height * factor + 0.5))
    size = tuple(max(1, edge) for edge in scale)
    if size == (width, height):
        return image
    if cv2:
        return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).reshape(*size[::-1], -1)
    return resize_bilinearly(image, size)


def resize_bilinearly(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What ``cv2.resize`` does by default, in its integers.

    Args:
        image: (H, W, C) uint8.
        size: width and height.
    """
    height, width = image.shape[:2]
    left, right, weight_left, weight_right = _neighbours(width, size[0])
    above, below, weight_above, weight_below = _neighbours(height, size[1])
    image = image.astype(np.int32)
    lines = image[:, left] * weight_left[:, None] + image[:, right] * weight_right[:, None]
    lines >>= 4
    upper = (lines[above] * weight_above[:, None, None]) >> 16
    lower = (lines[below] * weight_below[:, None, None]) >> 16
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def _neighbours(length: int, target: int) -> tuple[np.ndarray, ...]:
    """The two pixels that each pixel of a resized line lies between, and their weights."""
    places = np.float32((np.arange(target) + 0.5) * (1 / (target / length)) - 0.5)
    first = np.floor(places)
    share = places - first
    first, second = (np.clip(first.astype(int) + step, 0, length - 1) for step in (0, 1))
    return first, second, *(np.rint(part * ONE).astype(np.int32) for part in (1 - share, share))
