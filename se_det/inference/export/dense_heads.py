"""RPN and RetinaNet's head: the detections of anchors."""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import AnchorHead, RPNHead
from torch import Tensor

from se_det.inference.export.box_coding import decode
from se_det.inference.export.suppression import best, nms_in_groups, take


def predict(
    head: AnchorHead, maps: Sequence[Tensor], sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Detect objects, or propose regions.

    Args:
        head: a RetinaHead, or an RPNHead, which suppresses boxes level by level.
        maps: of the neck, ``(N, C, H, W)`` each.
        sizes: heights and widths of the images, ``(N, 2)``.

    Returns:
        Boxes ``(N, max_per_img, 4)``, scores and labels ``(N, max_per_img)``; scores are 0 in
        unused places.
    """
    cfg, is_rpn = head.test_cfg, isinstance(head, RPNHead)
    score_threshold = 0 if is_rpn else cfg.get('score_thr', 0)
    boxes, scores, labels, levels = _candidates(head, maps, sizes, score_threshold)
    if cfg.get('min_bbox_size', -1) >= 0:
        extents = boxes[..., 2:] - boxes[..., :2]
        scores = torch.where((extents > cfg.min_bbox_size).all(-1), scores, 0)
    groups, count = (levels, len(maps)) if is_rpn else (labels, head.num_classes)
    keep = nms_in_groups(boxes, scores, groups, count, cfg.nms.iou_threshold, cfg.max_per_img)
    scores, index = best(torch.where(keep, scores, 0), cfg.max_per_img)
    return take(boxes, index), scores, labels.gather(1, index)


def _candidates(
    head: AnchorHead, maps: Sequence[Tensor], sizes: Tensor, score_threshold: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The ``nms_pre`` best anchors and classes of each level.

    Returns:
        Boxes ``(N, K, 4)``; scores, labels and levels ``(N, K)``. Scores up to the threshold are 0.
    """
    logits, deltas = head(maps)
    anchors = head.prior_generator.grid_priors(
        [values.shape[-2:] for values in logits], device=maps[0].device
    )
    found = []
    for level, of_level in enumerate(zip(logits, deltas, anchors, strict=True)):
        logits_of_level, deltas_of_level, anchors_of_level = of_level
        scores = _by_anchor(logits_of_level, head.cls_out_channels).sigmoid()
        scores = torch.where(scores > score_threshold, scores, 0).flatten(1)
        scores, index = best(scores, head.test_cfg.nms_pre)
        anchor = index // head.cls_out_channels
        labels = index % head.cls_out_channels
        chosen = take(_by_anchor(deltas_of_level, 4), anchor)
        levels = torch.full_like(labels, level)
        found.append((anchors_of_level[anchor], chosen, scores, labels, levels))
    anchors, deltas, scores, labels, levels = (
        torch.cat(values, 1) for values in zip(*found, strict=True)
    )
    return decode(head.bbox_coder, anchors, deltas, sizes)[:, :, 0], scores, labels, levels


def _by_anchor(values: Tensor, channels: int) -> Tensor:
    """Turn the map of a convolution, ``(N, A * C, H, W)``, into ``(N, H * W * A, C)``."""
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, channels)
