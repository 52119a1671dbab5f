"""Pages of a made-up run and of a made-up comparison."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from torch import nn

from se_det.analysis.report.comparison_page import write_comparison_page
from se_det.analysis.report.history import History
from se_det.analysis.report.run_page import write_run_page
from se_det.analysis.report.scores import score
from se_det.evaluation import compare_runs

IMAGES = 30


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """A folder with an image for each of `make_random`."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        colours = rng.integers(0, 255, (10, 10, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f'{index}.png'), colours.repeat(10, 0).repeat(10, 1))
    return folder


@pytest.fixture
def runner(tmp_path):
    """As much of mmengine's Runner as a page reads."""
    return SimpleNamespace(
        work_dir=str(tmp_path / 'run'),
        cfg=Config(dict(title='<script>alert("config")</script>')),
        experiment_name='made up',
        model=nn.Linear(3, 4),
    )


@pytest.fixture
def history():
    """Of two epochs of 50 iterations."""
    steps = np.arange(1, 101)
    noise = np.random.default_rng(0).normal(0, 0.1, 100)
    return History(
        losses={
            'loss': 3 / np.sqrt(steps) + noise + 0.3,
            'loss_cls': 2 / np.sqrt(steps),
            'loss_bbox': 1 / np.sqrt(steps),
        },
        learning_rate=0.01 * np.minimum(1, steps / 10),
        seconds=np.full(100, 0.5),
        metrics={'bbox_mAP': np.array([0.2, 0.3]), 'bbox_mAP_50': np.array([0.4, 0.5])},
        validated_at=np.array([50, 100]),
        epoch_length=50,
    )


@pytest.fixture
def run_page(make_random, photos, runner, history):
    """The path of the page of a run with boxes and masks."""
    scores = [score(*make_random(1, metric=metric), metric) for metric in ('bbox', 'segm')]
    paths = {index + 1: str(photos / f'{index}.png') for index in range(IMAGES)}
    return write_run_page(runner, history, scores, paths, num_images=4)


@pytest.fixture
def comparison_page(make_random, as_coco, photos, tmp_path):
    """The path of the page of a comparison of two seeds a side."""
    truth, _ = make_random(1)
    ann_file = tmp_path / 'annotations.json'
    ann_file.write_text(json.dumps(truth.coco.dataset))
    rng = np.random.default_rng(0)

    def results(side, seed, noise):
        found = []
        for ann in truth.coco.anns.values():
            box = np.maximum(np.array(ann['bbox']) + rng.normal(0, noise, 4), 3).tolist()
            category, image = ann['category_id'], ann['image_id']
            found.append(dict(image_id=image, category_id=category, bbox=box, score=rng.random()))
        path = tmp_path / f'{side}_{seed}.bbox.json'
        path.write_text(json.dumps(found))
        return path

    plain = [results('plain', seed, 5) for seed in range(2)]
    se = [results('se', seed, 3) for seed in range(2)]
    configs = Config(dict(backbone='ResNet', lr=1)), Config(dict(backbone='SEResNet', lr=1))
    return write_comparison_page(
        tmp_path,
        compare_runs(plain, se, ann_file, resamples=100, workers=1),
        plain,
        se,
        ann_file,
        images=photos,
        sides=('plain', 'SE'),
        seeds=(3, 8),
        configs=configs,
        commands=['tools/train.py plain.py', 'tools/train.py se.py'],
    )
