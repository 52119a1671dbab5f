"""RPN and RetinaNet's head: the detections of anchors."""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads.anchor_head import AnchorHead
from torch import Tensor

from se_det.inference.export.box_coding import decode
from se_det.inference.export.suppression import best, nms_in_groups, take


def predict_proposals(
    head: AnchorHead, maps: Sequence[Tensor], sizes: Tensor
) -> tuple[Tensor, Tensor]:
    """Propose regions.

    Args:
        head: an RPNHead.
        maps: of the neck, ``(N, C, H, W)`` each.
        sizes: heights and widths of the images, ``(N, 2)``.

    Returns:
        Boxes ``(N, max_per_img, 4)`` and scores ``(N, max_per_img)``, which are 0 in unused places.
    """
    cfg = head.test_cfg
    boxes, scores, _, levels = _candidates(head, maps, sizes, score_threshold=0)
    extents = boxes[..., 2:] - boxes[..., :2]
    if cfg.get('min_bbox_size', -1) >= 0:
        scores = torch.where((extents > cfg.min_bbox_size).all(-1), scores, 0)
    keep = nms_in_groups(
        boxes, scores, levels, len(maps), cfg.nms.iou_threshold, count=cfg.max_per_img
    )
    scores, index = best(torch.where(keep, scores, 0), cfg.max_per_img)
    return take(boxes, index), scores


def predict_objects(
    head: AnchorHead, maps: Sequence[Tensor], sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Detect objects.

    Args:
        head: a RetinaHead.
        maps: as in `predict_proposals`.
        sizes: as in `predict_proposals`.

    Returns:
        Boxes ``(N, max_per_img, 4)``, scores and labels ``(N, max_per_img)``; scores are 0 in
        unused places.
    """
    cfg = head.test_cfg
    boxes, scores, labels, _ = _candidates(head, maps, sizes, cfg.get('score_thr', 0))
    extents = boxes[..., 2:] - boxes[..., :2]
    if cfg.get('min_bbox_size', -1) >= 0:
        scores = torch.where((extents > 0).all(-1), scores, 0)
    keep = nms_in_groups(
        boxes, scores, labels, head.num_classes, cfg.nms.iou_threshold, count=cfg.max_per_img
    )
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
