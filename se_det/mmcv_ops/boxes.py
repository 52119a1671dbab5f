"""Non-maximum suppression."""

import torch
import torchvision.ops  # registers the kernels used below as torch.ops.torchvision
from torch import Tensor

SOFT_NMS_NAIVE, SOFT_NMS_LINEAR, SOFT_NMS_GAUSSIAN = 0, 1, 2


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: ``(N, 4)``, x1, y1, x2, y2 in pixels.
        scores: ``(N,)``.
        iou_threshold: a box that overlaps a better one by more than this IoU is dropped.
        offset: 0, or 1 if a box includes its last pixel (width is x2 - x1 + 1).

    Returns:
        Indices of the kept boxes, ``(K,)`` int64, best score first.
    """
    # mmcv compares in float32. torchvision would compare a float32 IoU with a float64 threshold.
    iou_threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    return torch.ops.torchvision.nms(_half_open(boxes, offset), scores.to(boxes), iou_threshold)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group each box that NMS keeps with the boxes that it suppresses.

    Args:
        dets: ``(N, 5)``, x1, y1, x2, y2, score.
        iou_threshold: a box that overlaps a better one by at least this IoU is suppressed.

    Returns:
        A list per kept box, best score first: its index, then those that it suppressed, by score.
    """
    order = dets[:, 4].argsort(descending=True, stable=True)
    overlaps = torchvision.ops.box_iou(dets[:, :4], dets[:, :4])
    groups = []
    while len(order):
        joins_best = overlaps[order[0], order] >= iou_threshold
        joins_best[0] = True
        groups.append(order[joins_best].tolist())
        order = order[~joins_best]
    return groups


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (arXiv 1704.04503): lower the scores of overlapping boxes instead of dropping them.

    Args:
        boxes: ``(N, 4)``, x1, y1, x2, y2 in pixels.
        scores: ``(N,)``.
        dets: ``(N, 5)``; its first K rows receive the kept boxes and their new scores.
        iou_threshold: scores fall for boxes that overlap by at least this IoU (not for Gaussian).
        sigma: width of the Gaussian.
        min_score: boxes whose score falls below this are dropped.
        method: 0 naive (score 0), 1 linear (times 1 - IoU), 2 Gaussian (times exp(-IoU^2/sigma)).
        offset: as in `nms`.

    Returns:
        Indices of the kept boxes, ``(K,)`` int64, in the order in which they were chosen.
    """
    areas_from = _half_open(boxes, offset)
    scores = scores.clone()
    remaining = torch.arange(len(boxes), device=boxes.device)
    kept = []
    while len(remaining):
        best = remaining[scores[remaining].argmax()]
        dets[len(kept)] = torch.cat([boxes[best], scores[best, None]])
        kept.append(best)
        remaining = remaining[remaining != best]
        iou = torchvision.ops.box_iou(areas_from[best, None], areas_from[remaining])[0]
        iou = iou.nan_to_num()  # 0 / 0 of two boxes without area
        if method == SOFT_NMS_GAUSSIAN:
            weight = torch.exp(-iou.square() / sigma)
        elif method == SOFT_NMS_LINEAR:
            weight = torch.where(iou >= iou_threshold, 1 - iou, 1)
        else:
            weight = (iou < iou_threshold).to(scores)
        scores[remaining] *= weight
        remaining = remaining[scores[remaining] >= min_score]
    return torch.stack(kept) if kept else remaining


def _half_open(boxes: Tensor, offset: int) -> Tensor:
    """Convert boxes of width x2 - x1 + offset to boxes of width x2 - x1."""
    return boxes + boxes.new_tensor([0, 0, offset, offset]) if offset else boxes
