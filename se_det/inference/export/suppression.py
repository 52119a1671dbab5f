"""Non-maximum suppression whose output has the shape of its input, for export.

A list of indices has a length that depends on values; a mask has not.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor


@torch.library.custom_op('se_det::nms', mutates_args=())
def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_boxes: int
) -> Tensor:
    """Which boxes non-maximum suppression keeps, class by class.

    Args:
        boxes: x1, y1, x2, y2, ``(N, K, 4)``.
        scores: of each class, ``(N, C, K)``.
        iou_threshold: a box that overlaps a better one of its class by more is dropped.
        score_threshold: a box with this score or less is dropped.
        max_boxes: how many boxes of a class are kept at most.

    Returns:
        ``(N, C, K)`` bool.
    """
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for image, kind in torch.cartesian_prod(*(torch.arange(n) for n in scores.shape[:2])).tolist():
        chosen = (scores[image, kind] > score_threshold).nonzero()[:, 0]
        kept = torchvision.ops.nms(boxes[image, chosen], scores[image, kind, chosen], iou_threshold)
        keep[image, kind, chosen[kept[:max_boxes]]] = True
    return keep


@nms.register_fake
def _(boxes: Tensor, scores: Tensor, *settings: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def nms_in_groups(
    boxes: Tensor, scores: Tensor, groups: Tensor, num_groups: int, iou_threshold: float, count: int
) -> Tensor:
    """Which boxes non-maximum suppression keeps, each compared with those of its group alone.

    Args:
        boxes: ``(N, K, 4)``.
        scores: 0 for a box to drop, ``(N, K)``.
        groups: the group of each box, ``(N, K)`` int64.
        num_groups: how many there are.
        iou_threshold: as in `nms`.
        count: how many boxes of a group are kept at most.

    Returns:
        ``(N, K)`` bool.
    """
    is_member = groups[:, None] == torch.arange(num_groups, device=groups.device)[:, None]
    return nms(boxes, torch.where(is_member, scores[:, None], 0), iou_threshold, 0.0, count).any(1)


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best scores, highest first.

    Args:
        scores: at least 0, ``(N, K)``.
        count: how many to return.

    Returns:
        Scores and their indices, ``(N, count)``. If K is less than ``count``, the last scores are
        0 and their indices K - 1.
    """
    found, index = F.pad(scores, (0, count)).topk(count)
    return found, index.clamp(max=scores.shape[1] - 1)


def take(values: Tensor, index: Tensor) -> Tensor:
    """Take ``(N, count, D)`` from ``(N, K, D)`` by indices ``(N, count)``."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))
