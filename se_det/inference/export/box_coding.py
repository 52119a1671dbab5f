"""Boxes from what a head predicts."""

import torch
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from torch import Tensor


def decode(coder: DeltaXYWHBBoxCoder, boxes: Tensor, deltas: Tensor, sizes: Tensor) -> Tensor:
    """Decode boxes and clip each to its image, as mmdet's coder does for one image.

    Args:
        coder: of the head.
        boxes: anchors or RoIs, ``(N, K, 4)``.
        deltas: for each class, or one for all, ``(N, K, C * 4)``.
        sizes: heights and widths of the images, ``(N, 2)``.

    Returns:
        ``(N, K, C, 4)``.
    """
    decoded = coder.decode(boxes.flatten(0, 1), deltas.flatten(0, 1))
    decoded = decoded.view(*boxes.shape[:2], -1, 4)
    if not coder.clip_border:
        return decoded
    ends = sizes.flip(1).repeat(1, 2).to(decoded.dtype)  # width, height, width, height
    return torch.minimum(decoded.clamp(min=0), ends[:, None, None])
