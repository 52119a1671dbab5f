"""Heads of MMDetection behind the maps of SE backbones."""

import pytest
import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import nn

from se_det.engine.launch import load_config

SSD_ANCHORS = dict(
    type='SSDAnchorGenerator',
    scale_major=False,
    input_size=300,
    basesize_ratio_range=(0.15, 0.9),
    strides=[8, 16, 32, 64, 100, 300],
    ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
)


@pytest.mark.parametrize('backbone', ['SEResNet', 'SERegNet'])
def test_centernet_takes_views_of_the_last_map(backbone):
    cfg = load_config('mmdet::centernet/centernet_r18_8xb16-crop512-140e_coco.py')
    arguments = dict(depth=18) if backbone == 'SEResNet' else dict(arch='regnetx_400mf')
    cfg.model.backbone = dict(type=backbone, **arguments)
    if backbone == 'SERegNet':
        cfg.model.neck.in_channels = 384
    detector = MODELS.build(cfg.model)
    detector.eval()
    sample = DetDataSample(
        metainfo=dict(img_shape=(128, 128), border=(0, 128, 0, 128), batch_input_shape=(128, 128))
    )
    found = detector.predict(torch.randn(1, 3, 128, 128), [sample], rescale=False)
    assert len(found[0].pred_instances) > 0


def test_ssd_predicts_which_mmdetections_does_not():
    cfg = load_config('mmdet::ssd/ssd300_coco.py', se=True)
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.score_thr = 0
    detector = MODELS.build(cfg.model)
    detector.eval()
    sample = DetDataSample(metainfo=dict(img_shape=(300, 300)))
    found = detector.predict(torch.randn(1, 3, 300, 300), [sample], rescale=False)
    assert len(found[0].pred_instances) > 0


def test_a_head_of_ssd_may_have_a_loss_cls():
    class Head(SSDHead):
        def __init__(self):
            super().__init__(anchor_generator=SSD_ANCHORS)
            self.loss_cls = nn.Identity()

    assert isinstance(Head().loss_cls, nn.Identity)
