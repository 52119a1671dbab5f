"""Made-up annotations and detections; pages of a made-up run and of a made-up comparison."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from pycocotools import mask as coco_mask
from torch import nn

from se_det.evaluation import compare_runs
from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.numbered_coco import NumberedCOCO
from se_det.evaluation.results import Results
from se_det.report.comparison_page import write_comparison_page
from se_det.report.history import History
from se_det.report.run_page import write_run_page
from se_det.report.scores import score

IMAGES = 30


def make_truth(annotations, images=1, categories=3):
    """Annotations given as ``(image, category, box)`` or ``(image, category, box, iscrowd)``."""
    content = dict(
        images=[dict(id=i + 1, file_name=f'{i}.png', width=100, height=100) for i in range(images)],
        categories=[dict(id=k + 1, name=f'class {k + 1}') for k in range(categories)],
        annotations=[
            dict(
                id=index + 1,
                image_id=image,
                category_id=category,
                bbox=list(box),
                area=box[2] * box[3],
                iscrowd=int(any(crowd)),
                segmentation=_corners(*box),
            )
            for index, (image, category, box, *crowd) in enumerate(annotations)
        ],
    )
    ids = np.arange(1, categories + 1)
    return GroundTruth(Path('annotations'), NumberedCOCO(content), ids, ids)


def _corners(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def make_results(truth, detections, metric='bbox'):
    """Detections given as ``(image, category, box, score)``."""
    boxes = np.array([box for _, _, box, _ in detections], float).reshape(-1, 4)
    shapes = boxes
    if metric == 'segm':
        shapes = [coco_mask.merge(coco_mask.frPyObjects(_corners(*box), 100, 100)) for box in boxes]
    return Results(
        image=np.array([found[0] - 1 for found in detections], int),
        category=np.array([found[1] - 1 for found in detections], int),
        score=np.array([found[3] for found in detections], float),
        shapes=shapes,
    )


def as_results(found):
    """The same detections as in a result file."""
    key = 'segmentation' if isinstance(found.shapes, list) else 'bbox'
    shapes = found.shapes if key == 'segmentation' else found.shapes.tolist()
    columns = (found.image + 1, found.category + 1, found.score)
    rows = zip(*(column.tolist() for column in columns), shapes, strict=True)
    return [
        {'image_id': image, 'category_id': category, 'score': score, key: shape}
        for image, category, score, shape in rows
    ]


def make_random(seed, crowds=False, images=30, categories=4, metric='bbox'):
    """Annotations, and detections that are right, shifted, of another class, or nowhere near."""
    rng = np.random.default_rng(seed)
    annotations, detections = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 6)):
            box = np.array([*rng.uniform(0, 60, 2), *rng.uniform(10, 40, 2)])
            category = int(rng.integers(1, categories + 1))
            crowd = int(crowds and rng.random() < 0.15)
            annotations.append((image, category, box.tolist(), crowd))
            for _ in range(rng.integers(0, 4)):
                shifted = box + rng.normal(0, rng.choice([1, 4, 12]), 4)
                shifted[2:] = np.maximum(shifted[2:], 3)
                found = category if rng.random() < 0.7 else int(rng.integers(1, categories + 1))
                detections.append((image, found, shifted.tolist(), float(rng.random())))
        for _ in range(rng.integers(0, 3)):
            box = [*rng.uniform(0, 60, 2), *rng.uniform(10, 40, 2)]
            category = int(rng.integers(1, categories + 1))
            detections.append((image, category, box, float(0.7 * rng.random())))
    truth = make_truth(annotations, images, categories)
    return truth, make_results(truth, detections, metric)


def make_runner(folder):
    """As much of mmengine's Runner as a page reads."""
    return SimpleNamespace(
        work_dir=str(folder),
        cfg=Config(dict(title='<script>alert("config")</script>')),
        experiment_name='made up',
        model=nn.Linear(3, 4),
    )


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """A folder with an image for each of `make_random`."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        colours = rng.integers(0, 255, (10, 10, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f'{index}.png'), colours.repeat(10, 0).repeat(10, 1))
    return folder


@pytest.fixture(scope='session')
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


@pytest.fixture(scope='session')
def run_page(photos, history, tmp_path_factory):
    """The path of the page of a run with boxes and masks."""
    scores = [score(*make_random(1, metric=metric), metric) for metric in ('bbox', 'segm')]
    paths = {index + 1: str(photos / f'{index}.png') for index in range(IMAGES)}
    runner = make_runner(tmp_path_factory.mktemp('run'))
    return write_run_page(runner, history, scores, paths, num_images=4)


@pytest.fixture(scope='session')
def comparison_page(photos, tmp_path_factory):
    """The path of the page of a comparison of two seeds a side."""
    folder = tmp_path_factory.mktemp('comparison')
    truth, _ = make_random(1)
    ann_file = folder / 'annotations.json'
    ann_file.write_text(json.dumps(truth.coco.dataset))
    rng = np.random.default_rng(0)

    def results(side, seed, noise):
        found = []
        for ann in truth.coco.anns.values():
            box = np.maximum(np.array(ann['bbox']) + rng.normal(0, noise, 4), 3).tolist()
            category, image = ann['category_id'], ann['image_id']
            found.append(dict(image_id=image, category_id=category, bbox=box, score=rng.random()))
        path = folder / f'{side}_{seed}.bbox.json'
        path.write_text(json.dumps(found))
        return path

    plain = [results('plain', seed, 5) for seed in range(2)]
    se = [results('se', seed, 3) for seed in range(2)]
    configs = Config(dict(backbone='ResNet', lr=1)), Config(dict(backbone='SEResNet', lr=1))
    return write_comparison_page(
        folder,
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
