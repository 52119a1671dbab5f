"""Configs whose preprocessing differs from that of their public weights."""

from itertools import pairwise

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from se_det.checkpoints import convert_weights
from se_det.engine.launch import load_config, train
from se_det.engine.start.preprocessing import check_preprocessing
from se_det.errors import UsageError


def _config(**data_preprocessor):
    cfg = load_config('configs/faster_rcnn_se_r50.py')
    cfg.model.data_preprocessor.update(data_preprocessor)
    return cfg


@pytest.mark.parametrize(
    ('change', 'added'),
    [
        (dict(bgr_to_rgb=False), ''),
        (dict(mean=[103.530, 116.280, 123.675]), ''),
        (dict(std=[1.0, 1.0, 1.0]), ''),
        (dict(rgb_to_bgr=True), ', rgb_to_bgr=False'),
        (dict(std=None), ''),
        (dict(mean=None, std=None), ''),
    ],
)
def test_wrong_preprocessing(change, added):
    with pytest.raises(UsageError) as error:
        check_preprocessing(_config(**change))
    assert 'mmpretrain/se_resnet50 was trained on RGB images' in str(error.value)
    lines = str(error.value).partition('Set\n')[2]
    assert lines.endswith(
        'model = dict(data_preprocessor=dict(mean=[123.675, 116.28, 103.53], '
        f'std=[58.395, 57.12, 57.375], bgr_to_rgb=True{added}))'
    )
    cfg = _config(**change)
    cfg.merge_from_dict(Config.fromstring(lines, '.py').to_dict())
    check_preprocessing(cfg)


def test_preprocessing_in_a_wrapper_and_of_unknown_weights():
    cfg = _config(bgr_to_rgb=False)
    cfg.model = dict(
        type='SoftTeacher',
        detector=cfg.model,
        data_preprocessor=dict(
            type='MultiBranchDataPreprocessor', data_preprocessor=cfg.model.data_preprocessor
        ),
    )
    with pytest.raises(UsageError, match='was trained on RGB images'):
        check_preprocessing(cfg)
    cfg.model.detector.backbone.init_cfg.checkpoint = 'mine.pth'
    check_preprocessing(cfg)


def test_preprocessing_beside_the_model_or_missing():
    cfg = _config()
    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    check_preprocessing(cfg)
    cfg.data_preprocessor.bgr_to_rgb = False
    with pytest.raises(UsageError, match='was trained on RGB images'):
        check_preprocessing(cfg)
    cfg.pop('data_preprocessor')
    with pytest.raises(UsageError, match='was trained on RGB images'):
        check_preprocessing(cfg)
    cfg.train_dataloader.dataset.pipeline.append(dict(type='Normalize', mean=[0] * 3, std=[1] * 3))
    check_preprocessing(cfg)


def test_train_checks_images_before_data():
    with pytest.raises(UsageError, match='was trained on RGB images'):
        train(
            'configs/faster_rcnn_se_r50.py',
            cfg_options={'model.data_preprocessor.bgr_to_rgb': False},
        )


def test_a_converted_file_of_public_weights(tmp_path):
    backbone = MODELS.build(dict(type='SEResNet', depth=50, base_channels=8))
    files = [str(tmp_path / name) for name in ('se_resnet50-ce0d4300.pth', 'a.pth', 'b.pth')]
    torch.save(backbone.state_dict(), files[0])
    for source, destination in pairwise(files):
        convert_weights(source, destination)
    torch.save(backbone.state_dict(), tmp_path / 'mine.pth')
    cfg = _config(bgr_to_rgb=False)
    init_cfg = cfg.model.backbone.init_cfg
    for init_cfg.checkpoint in files:
        with pytest.raises(UsageError, match=r'legacy_seresnet50\.in1k was trained on RGB'):
            check_preprocessing(cfg)
    init_cfg.checkpoint = str(tmp_path / 'mine.pth')
    check_preprocessing(cfg)
