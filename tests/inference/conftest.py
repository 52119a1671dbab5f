"""Small detectors with random weights and images to detect in."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from se_det.config_files import read_config

CLASSES = ('ring', 'square', 'triangle')
SIZES = ((64, 96), (96, 64), (64, 90), (64, 64), (100, 60))  # height, width


def small_config(name: str, tiny: dict):
    """A config of se_det with a small backbone, three classes and images of 64 pixels."""
    cfg = read_config(f'configs/{name}.py')
    cfg.merge_from_dict({**tiny, 'model.roi_head.bbox_head.num_classes': 3})
    if 'mask_head' in cfg.model.roi_head:
        cfg.merge_from_dict(
            {
                'model.roi_head.mask_roi_extractor.out_channels': 16,
                'model.roi_head.mask_head.in_channels': 16,
                'model.roi_head.mask_head.conv_out_channels': 16,
                'model.roi_head.mask_head.num_classes': 3,
            }
        )
    for step in cfg.test_dataloader.dataset.pipeline:
        if step['type'] == 'Resize':
            step['scale'] = (96, 64)
    cfg.test_dataloader.dataset.metainfo = dict(classes=CLASSES)
    return cfg


def save_random(cfg, path, seed=0):
    """Save a checkpoint as mmengine does, of random weights that find objects of all classes."""
    init_default_scope('mmdet')
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=0.5)
    torch.nn.init.normal_(model.rpn_head.rpn_cls.weight, std=0.5)
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


@pytest.fixture(scope='session')
def detectors(tmp_path_factory, tiny):
    """Config and checkpoint of a small Faster and a small Mask R-CNN."""
    folder = tmp_path_factory.mktemp('detectors')
    made = {}
    for name in ('faster_rcnn_se_r50', 'mask_rcnn_se_r50'):
        cfg = small_config(name, tiny)
        made[name] = cfg, save_random(cfg, folder / f'{name}.pth')
    return made


@pytest.fixture(scope='session')
def pixels():
    """An image of noise blocks, by its height, width and a number."""

    def make(height, width, number=0):
        rng = np.random.default_rng([height, width, number])
        coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        return coarse.repeat(8, 0).repeat(8, 1)[:height, :width].copy()

    return make
