"""The heads of Faster, Mask and Cascade R-CNN: the detections of proposals.

A StandardRoIHead is a CascadeRoIHead of one stage.
"""

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.config import ConfigDict
from torch import Tensor, nn
from torchvision.ops import roi_align

from se_det.inference.export.box_coding import decode
from se_det.inference.export.suppression import best, nms, take

RoIHead = StandardRoIHead | CascadeRoIHead


def as_stages(part: nn.Module) -> list[nn.Module]:
    """The parts of a cascade, or the one part of a StandardRoIHead."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def predict_boxes(
    head: RoIHead, maps: Sequence[Tensor], proposals: Tensor, objectness: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Detect objects.

    Args:
        head: of the detector.
        maps: of the neck, ``(N, C, H, W)`` each.
        proposals: ``(N, K, 4)``.
        objectness: scores of the proposals, 0 in unused places, ``(N, K)``.
        sizes: heights and widths of the images, ``(N, 2)``.

    Returns:
        Boxes ``(N, max_per_img, 4)``, scores and labels ``(N, max_per_img)``; scores are 0 in
        unused places.
    """
    boxes, logits_by_stage = proposals, []
    for extractor, bbox_head in zip(
        as_stages(head.bbox_roi_extractor), as_stages(head.bbox_head), strict=True
    ):
        if logits_by_stage:
            boxes = _of_best_class(boxes, logits_by_stage[-1])
        logits, deltas = (
            values.view(*proposals.shape[:2], -1)
            for values in bbox_head(align(extractor, maps, boxes))
        )
        boxes = decode(bbox_head.bbox_coder, boxes, deltas, sizes)
        logits_by_stage.append(logits)
    scores = (sum(logits_by_stage) / len(logits_by_stage)).softmax(-1)[..., :-1]
    scores = torch.where(objectness[..., None] > 0, scores, 0)
    return _suppress(boxes.expand(-1, -1, scores.shape[-1], -1), scores, head.test_cfg)


def predict_masks(head: RoIHead, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
    """Predict the mask of each object within its box.

    Args:
        head: of the detector.
        maps: as in `predict_boxes`.
        boxes: ``(N, K, 4)``.
        labels: ``(N, K)``.

    Returns:
        Probabilities, ``(N, K, h, w)``.
    """
    probabilities = []
    for extractor, mask_head in zip(
        as_stages(head.mask_roi_extractor), as_stages(head.mask_head), strict=True
    ):
        logits = mask_head(align(extractor, maps, boxes))
        channel = torch.zeros_like(labels) if mask_head.class_agnostic else labels
        index = channel.flatten()[:, None, None, None].expand(-1, 1, *logits.shape[2:])
        probabilities.append(logits.gather(1, index).sigmoid())
    return (sum(probabilities) / len(probabilities)).view(*labels.shape, *logits.shape[2:])


def align(extractor: SingleRoIExtractor, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """RoIAlign, each RoI on the level of its scale.

    Every level aligns all RoIs. Those of other levels are moved out of the map, where there is
    nothing to sample: they cost little and add zeros.

    Args:
        extractor: of the detector.
        maps: of the neck, ``(N, C, H, W)`` each; the first are used.
        boxes: ``(N, K, 4)``.

    Returns:
        ``(N * K, C, h, w)``.
    """
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None, None]
    image = image.expand(-1, boxes.shape[1], 1).to(boxes.dtype)
    rois = torch.cat([image, boxes], 2).flatten(0, 1)
    outside = torch.cat([rois[:, :1], torch.full_like(rois[:, 1:], -1e5)], 1)
    levels = extractor.map_roi_levels(rois, extractor.num_inputs)
    return sum(
        roi_align(
            maps[level],
            torch.where((levels == level)[:, None], rois, outside),
            layer.output_size,
            layer.spatial_scale,
            layer.sampling_ratio,
            layer.aligned,
        )
        for level, layer in enumerate(extractor.roi_layers)
    )


def _of_best_class(boxes: Tensor, logits: Tensor) -> Tensor:
    """The boxes ``(N, K, 4)`` of the best classes, of ``(N, K, C, 4)``; C may be 1."""
    if boxes.shape[2] == 1:
        return boxes[:, :, 0]
    best_class = logits[..., :-1].argmax(-1)[..., None, None].expand(-1, -1, 1, 4)
    return boxes.gather(2, best_class)[:, :, 0]


def _suppress(boxes: Tensor, scores: Tensor, cfg: ConfigDict) -> tuple[Tensor, Tensor, Tensor]:
    """The best boxes after non-maximum suppression, of ``(N, K, C, 4)`` and ``(N, K, C)``."""
    boxes, scores = boxes.transpose(1, 2), scores.transpose(1, 2)
    keep = nms(
        boxes.flatten(0, 1),
        scores.flatten(0, 1)[:, None],
        cfg.nms.iou_threshold,
        cfg.score_thr,
        cfg.max_per_img,
    )
    kept = torch.where(keep.view(scores.shape), scores, 0)
    found, index = best(kept.flatten(1), cfg.max_per_img)
    return take(boxes.flatten(1, 2), index), found, index // scores.shape[2]
