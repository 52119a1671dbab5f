"""A small SE detector, its checkpoint, and drawn images."""

import pytest
import torch
from mmdet.registry import MODELS

from se_det.engine.launch import load_config

SMALL = {
    'model.backbone.depth': 18,
    'model.backbone.base_channels': 16,
    'model.neck.in_channels': [16, 32, 64, 128],
    'model.neck.out_channels': 16,
    'model.rpn_head.in_channels': 16,
    'model.rpn_head.feat_channels': 16,
    'model.roi_head.bbox_roi_extractor.out_channels': 16,
    'model.roi_head.bbox_head.in_channels': 16,
    'model.roi_head.bbox_head.fc_out_channels': 32,
    'model.test_cfg.rcnn.score_thr': 0.0,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'val_dataloader.dataset.num_images': 8,
}


@pytest.fixture(scope='session')
def cfg(tmp_path_factory):
    """Faster R-CNN SE-R18 on eight drawn images."""
    folder = tmp_path_factory.mktemp('shapes')
    options = {
        **SMALL,
        'val_dataloader.dataset.data_root': f'{folder}/',
        'val_evaluator.ann_file': f'{folder}/annotations/instances_val.json',
    }
    return load_config('configs/faster_rcnn_se_r50_shapes.py', cfg_options=options)


@pytest.fixture(scope='session')
def checkpoint(cfg, tmp_path_factory):
    """Weights whose gates differ from channel to channel and image to image."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for name, parameter in model.backbone.named_parameters():
        if '.se.fc' in name:
            torch.nn.init.normal_(parameter, std=1.0)
    path = tmp_path_factory.mktemp('weights') / 'detector.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)
