"""The forward functions that are exported."""

import torch
from torch import Tensor, nn

from se_det.inference.export import dense_heads
from se_det.inference.export.roi_heads import predict_boxes, predict_masks


class WholeDetector(nn.Module):
    """A detector from images to boxes, as `se_det.inference.export.parts` allows it.

    Args:
        detector: mmdet's.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        self.has_masks = bool(getattr(detector, 'with_mask', False))

    @property
    def outputs(self) -> list[str]:
        """The names of what `forward` returns."""
        return ['boxes', 'scores', 'labels', *['masks'] * self.has_masks]

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Detect objects.

        Args:
            images: normalised and padded at the bottom and on the right with zeros,
                ``(N, 3, H, W)``.
            sizes: heights and widths of the images without padding, ``(N, 2)`` int64.

        Returns:
            Boxes ``(N, K, 4)`` in pixels, scores ``(N, K)`` and labels ``(N, K)`` int64, highest
            score first; K is ``max_per_img``. With a mask head, the masks' probabilities
            ``(N, K, h, w)`` too. Unused places have score 0, label -1 and zeros.
        """
        detector = self.detector
        maps = detector.extract_feat(images)
        if hasattr(detector, 'rpn_head'):
            proposals, objectness, _ = dense_heads.predict(detector.rpn_head, maps, sizes)
            found = predict_boxes(detector.roi_head, maps, proposals, objectness, sizes)
        else:
            found = dense_heads.predict(detector.bbox_head, maps, sizes)
        boxes, scores, labels = found
        is_used = scores > 0
        boxes = torch.where(is_used[..., None], boxes, 0)
        outputs = boxes, scores, torch.where(is_used, labels, -1)
        if not self.has_masks:
            return outputs
        masks = predict_masks(detector.roi_head, maps, boxes, labels)
        return *outputs, torch.where(is_used[..., None, None], masks, 0)


class Features(nn.Module):
    """The backbone and the neck of a detector.

    Args:
        detector: mmdet's.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images ``(N, 3, H, W)`` to feature maps ``(N, C, H / stride, W / stride)``."""
        return tuple(self.detector.extract_feat(images))
