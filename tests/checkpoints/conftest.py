import pytest
import torch
from mmdet.registry import MODELS

from se_det.engine.launch import load_config

BACKBONE = dict(type='SEResNet', depth=50, base_channels=8)


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Give every weight a random value, batch norm's and the biases included."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if 'running_var' in name else tensor.normal_(0, 0.1)
    return model


@pytest.fixture(scope='session')
def trained():
    """A narrow SE-ResNet-50 with random weights, also in batch norm."""
    torch.manual_seed(0)
    return randomise(MODELS.build(BACKBONE))


@pytest.fixture
def save(tmp_path):
    """Write a checkpoint and return the init_cfg that loads it."""

    def save_checkpoint(checkpoint, name='weights.pth', **options):
        torch.save(checkpoint, tmp_path / name)
        return dict(type='SEPretrained', checkpoint=str(tmp_path / name), **options)

    return save_checkpoint


@pytest.fixture
def faster_rcnn():
    """Make the config of a narrow Faster R-CNN."""

    def config(backbone, base_channels=8, se_cfg=None, **model):
        cfg = load_config('configs/faster_rcnn_r50.py').model
        cfg.update(model)
        cfg.backbone.update(type=backbone, base_channels=base_channels, init_cfg=None)
        if se_cfg is not None:
            cfg.backbone.se_cfg = se_cfg
        cfg.neck.update(in_channels=[base_channels * n for n in (4, 8, 16, 32)], out_channels=16)
        cfg.rpn_head.update(in_channels=16, feat_channels=16)
        cfg.roi_head.bbox_roi_extractor.out_channels = 16
        cfg.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32)
        cfg.train_cfg.rpn_proposal.max_per_img = 50
        cfg.test_cfg.rpn.max_per_img = 50
        cfg.test_cfg.rcnn.score_thr = 0.0
        return cfg

    return config
