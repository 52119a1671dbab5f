"""Masks of boxes, pasted into an image, in NumPy."""

import numpy as np


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, shape: tuple[int, int], threshold: float
) -> np.ndarray:
    """Scale masks to their boxes, as mmdet's FCNMaskHead does.

    Args:
        masks: probabilities, (N, h, w).
        boxes: x1, y1, x2, y2 in pixels, (N, 4).
        shape: height and width of the image.
        threshold: the lowest probability of a pixel in a mask.

    Returns:
        (N, H, W) bool.
    """
    pasted = np.zeros((len(masks), *shape), bool)
    for mask, box, canvas in zip(masks, boxes, pasted, strict=True):
        # Bilinear interpolation is separable. A pixel around the box still touches the mask.
        left, top = np.maximum(np.floor(box[:2]) - 1, 0).astype(int)
        right, bottom = np.ceil(box[2:] + 1).astype(int)
        canvas = canvas[top:bottom, left:right]
        rows = _weights(box[1::2], top, canvas.shape[0], mask.shape[0])
        columns = _weights(box[::2], left, canvas.shape[1], mask.shape[1])
        canvas[...] = rows @ mask @ columns.T >= threshold
    return pasted


def _weights(ends: np.ndarray, first: int, pixels: int, length: int) -> np.ndarray:
    """How much each value of a mask counts in each pixel, along one axis: (pixels, length)."""
    start, end = ends
    centers = np.arange(first, first + pixels, dtype=np.float32) + np.float32(0.5)
    with np.errstate(divide='ignore', invalid='ignore'):
        shares = (centers - start) / (end - start)
    shares[np.isinf(shares)] = 0.5  # a box without extent, as in mmdet
    places = shares * length - np.float32(0.5)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(length, dtype=np.float32)), 0)
