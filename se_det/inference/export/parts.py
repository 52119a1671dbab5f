"""Which detectors are exported whole, and with which settings."""

from collections.abc import Iterator
from typing import Any

from mmcv.ops import RoIAlign
from mmdet.models.dense_heads import RetinaHead, RPNHead
from mmdet.models.detectors import CascadeRCNN, FasterRCNN, MaskRCNN, RetinaNet
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import (
    BBoxHead,
    ConvFCBBoxHead,
    Shared2FCBBoxHead,
    Shared4Conv1FCBBoxHead,
)
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from mmengine.config import ConfigDict
from torch import nn

from se_det.errors import UsageError
from se_det.inference.export.roi_heads import as_stages

DETECTORS = (FasterRCNN, MaskRCNN, CascadeRCNN, RetinaNet)
ROI_HEADS = (StandardRoIHead, CascadeRoIHead)
BBOX_HEADS = (BBoxHead, ConvFCBBoxHead, Shared2FCBBoxHead, Shared4Conv1FCBBoxHead)
NMS_SETTINGS = {'type', 'iou_threshold', 'split_thr'}  # the last changes time and memory alone


def unknown_part(detector: nn.Module) -> str | None:
    """Name a part of a detector for which there is no export, None if there is none.

    A subclass may predict in its own way, so that a part must be of a listed class itself.
    """
    for name, part, known in _parts(detector):
        if type(part) not in known:
            names = ' or '.join(kind.__name__ for kind in known)
            return f'its {name} is {type(part).__name__}; expected {names}'
    return None


def check_settings(detector: nn.Module) -> None:
    """Check the settings of a detector without an `unknown_part`.

    Raises:
        UsageError: a setting is not exported.
    """
    for name, found, is_exported, expected in _settings(detector):
        if not is_exported:
            raise UsageError(
                f'The setting model.{name} = {found!r} is not exported to ONNX; expected '
                f'{expected}. Change it: --cfg-options model.{name}=VALUE'
            )


def _parts(detector: nn.Module) -> Iterator[tuple[str, Any, tuple[type, ...]]]:
    yield 'type', detector, DETECTORS
    if type(detector) is RetinaNet:
        yield from _dense_head('bbox_head', detector.bbox_head, RetinaHead)
        return
    yield from _dense_head('rpn_head', detector.rpn_head, RPNHead)
    head = detector.roi_head
    yield 'roi_head', head, ROI_HEADS
    yield 'roi_head.shared_head', getattr(head, 'shared_head', None), (type(None),)
    for part in as_stages(head.bbox_head):
        yield 'roi_head.bbox_head', part, BBOX_HEADS
        yield 'roi_head.bbox_head.bbox_coder', part.bbox_coder, (DeltaXYWHBBoxCoder,)
    extractors = as_stages(head.bbox_roi_extractor)
    if head.with_mask:
        for part in as_stages(head.mask_head):
            yield 'roi_head.mask_head', part, (FCNMaskHead,)
        extractors += as_stages(head.mask_roi_extractor)
    for part in extractors:
        yield 'roi_head.bbox_roi_extractor', part, (SingleRoIExtractor,)
        for layer in part.roi_layers:
            yield 'roi_head.bbox_roi_extractor.roi_layer', layer, (RoIAlign,)


def _dense_head(name: str, head: nn.Module, kind: type) -> Iterator[tuple[str, Any, tuple]]:
    yield name, head, (kind,)
    yield f'{name}.bbox_coder', head.bbox_coder, (DeltaXYWHBBoxCoder,)
    yield f'{name}.anchor_generator', head.prior_generator, (AnchorGenerator,)


def _settings(detector: nn.Module) -> Iterator[tuple[str, Any, bool, str]]:
    """Name in ``model``, value, whether it is exported, and what is."""
    if type(detector) is RetinaNet:
        head, cfg = detector.bbox_head, detector.bbox_head.test_cfg
        yield from _dense_settings('bbox_head', head, 'test_cfg')
        size = cfg.get('min_bbox_size', -1)  # in pixels of the image before it was resized
        yield 'test_cfg.min_bbox_size', size, size <= 0, '0'
        return
    yield from _dense_settings('rpn_head', detector.rpn_head, 'test_cfg.rpn')
    head = detector.roi_head
    yield from _suppression('test_cfg.rcnn', head.test_cfg)
    for part in as_stages(head.bbox_head):
        custom = part.custom_cls_channels or part.custom_activation
        loss = type(part.loss_cls).__name__
        yield 'roi_head.bbox_head.loss_cls.type', loss, not custom, 'CrossEntropyLoss'
        yield 'roi_head.bbox_head.with_reg', part.with_reg, part.with_reg, 'True'
    for part in as_stages(head.bbox_roi_extractor):
        mode = part.roi_layers[0].pool_mode
        yield 'roi_head.bbox_roi_extractor.roi_layer.pool_mode', mode, mode == 'avg', 'avg'
    if head.with_mask:
        threshold = head.test_cfg.mask_thr_binary
        yield 'test_cfg.rcnn.mask_thr_binary', threshold, threshold >= 0, '0 or more'


def _dense_settings(
    name: str, head: nn.Module, test_cfg: str
) -> Iterator[tuple[str, Any, bool, str]]:
    sigmoid = head.use_sigmoid_cls and not getattr(head.loss_cls, 'custom_cls_channels', False)
    yield f'{name}.loss_cls.use_sigmoid', head.use_sigmoid_cls, sigmoid, 'True'
    count = head.test_cfg.get('nms_pre', -1)
    yield f'{test_cfg}.nms_pre', count, count > 0, 'a positive number'
    yield from _suppression(test_cfg, head.test_cfg)


def _suppression(name: str, cfg: ConfigDict) -> Iterator[tuple[str, Any, bool, str]]:
    nms = cfg.get('nms')
    known = bool(nms) and nms.get('type', 'nms') == 'nms' and NMS_SETTINGS.issuperset(nms)
    expected = "dict(type='nms', iou_threshold=...)"
    yield f'{name}.nms', nms and dict(nms), known and 'iou_threshold' in nms, expected
    count = cfg.get('max_per_img', -1)
    yield f'{name}.max_per_img', count, count > 0, 'a positive number'
