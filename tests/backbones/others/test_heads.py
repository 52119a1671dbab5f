"""Heads of MMDetection behind the maps of SE backbones."""

import pytest
import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import nn

from se_det.engine.launch import load_config


@pytest.mark.parametrize(
    ('backbone', 'channels'),
    [(dict(type='SEResNet', depth=18), 512), (dict(type='SERegNet', arch='regnetx_400mf'), 384)],
)
def test_centernet_takes_views_of_the_last_map(backbone, channels):
    cfg = load_config('mmdet::centernet/centernet_r18_8xb16-crop512-140e_coco.py').model
    cfg.backbone = backbone
    cfg.neck.in_channels = channels
    found = _predict(cfg, (128, 128), border=(0, 128, 0, 128), batch_input_shape=(128, 128))
    assert len(found) > 0


def test_ssd_predicts_which_mmdetections_does_not():
    cfg = load_config('mmdet::ssd/ssd300_coco.py', se=True).model
    cfg.backbone.init_cfg = None
    cfg.test_cfg.score_thr = 0
    assert len(_predict(cfg, (300, 300))) > 0


def _predict(cfg, size, **metainfo):
    detector = MODELS.build(cfg)
    detector.eval()
    sample = DetDataSample(metainfo=dict(img_shape=size, **metainfo))
    return detector.predict(torch.randn(1, 3, *size), [sample], rescale=False)[0].pred_instances


def test_a_head_of_ssd_may_have_a_loss_cls():
    anchors = load_config('mmdet::ssd/ssd300_coco.py').model.bbox_head.anchor_generator

    class Head(SSDHead):
        def __init__(self):
            super().__init__(anchor_generator=anchors)
            self.loss_cls = nn.Identity()

    assert isinstance(Head().loss_cls, nn.Identity)
