"""What is not exported is named: parts, settings, and what the config does to images."""

from copy import deepcopy

import pytest
import torch
from mmdet.registry import MODELS

from se_det.engine.launch import load_config
from se_det.errors import UsageError
from se_det.inference.export.image_facts import preprocessing
from se_det.inference.export.parts import check_settings, unknown_part


def changed(cfg, path, value):
    """The model of a config with another value at a dotted path."""
    model = deepcopy(cfg.model)
    *owners, key = path.split('.')
    inner = model
    for owner in owners:
        inner = inner[int(owner)] if isinstance(inner, list) else inner[owner]
    inner[key] = value
    return MODELS.build(model)


@pytest.mark.parametrize('cfg', ['mask_rcnn_se_r50'], indirect=True, scope='session')
@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('test_cfg.rcnn.nms', dict(type='soft_nms', iou_threshold=0.5)),
        ('test_cfg.rpn.nms', dict(type='nms', iou_threshold=0.7, max_num=9)),
        ('test_cfg.rpn.nms_pre', -1),
        ('test_cfg.rcnn.max_per_img', -1),
        ('test_cfg.rcnn.mask_thr_binary', -1),
        ('rpn_head.loss_cls.use_sigmoid', False),
        ('roi_head.bbox_roi_extractor.roi_layer.pool_mode', 'max'),
    ],
)
def test_a_setting_that_is_not_exported_is_named(cfg, path, value):
    detector = changed(cfg, path, value)
    assert unknown_part(detector) is None
    with pytest.raises(UsageError, match=path) as caught:
        check_settings(detector)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize('cfg', ['retinanet_se_r50'], indirect=True, scope='session')
def test_a_smallest_box_of_retinanet_is_named(cfg):
    with pytest.raises(UsageError, match='min_bbox_size = 4'):
        check_settings(changed(cfg, 'test_cfg.min_bbox_size', 4))


@pytest.mark.parametrize(
    ('config', 'part'),
    [
        ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco', 'type is FCOS'),
        ('double_heads/dh-faster-rcnn_r50_fpn_1x_coco', 'roi_head is DoubleHeadRoIHead'),
        ('free_anchor/freeanchor_r50_fpn_1x_coco', 'bbox_head is FreeAnchorRetinaHead'),
        ('groie/faste-rcnn_r50_fpn_groie_1x_coco', 'bbox_roi_extractor is GenericRoIExtractor'),
    ],
)
def test_a_part_without_export_is_named(config, part):
    cfg = load_config(f'mmdet::{config}.py')
    with torch.device('meta'):
        assert part in unknown_part(MODELS.build(cfg.model))


@pytest.mark.parametrize('cfg', ['faster_rcnn_se_r50'], indirect=True, scope='session')
def test_preprocessing_that_is_not_exported_is_named(cfg, detector):
    for step in (
        dict(type='Pad', size_divisor=32),
        dict(type='Resize', scale_factor=2.0),
        dict(type='RandomFlip', prob=0.5),
    ):
        other = deepcopy(cfg)
        other.test_dataloader.dataset.pipeline.insert(1, step)
        with pytest.raises(UsageError, match=step['type']):
            preprocessing(other, detector)
    other = deepcopy(cfg)
    other.model.data_preprocessor.pad_value = 114
    with pytest.raises(UsageError, match='pad_value'):
        preprocessing(other, MODELS.build(other.model))
