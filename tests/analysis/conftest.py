"""Made-up annotations and detections."""

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from se_det.evaluation.detections import Detections
from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.numbered_coco import NumberedCOCO


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
    shapes, area = boxes, boxes[:, 2] * boxes[:, 3]
    if metric == 'segm':
        shapes = [coco_mask.merge(coco_mask.frPyObjects(_corners(*box), 100, 100)) for box in boxes]
        area = coco_mask.area(shapes).astype(float) if shapes else np.zeros(0)
    return Detections(
        image=np.array([found[0] - 1 for found in detections], int),
        category=np.array([found[1] - 1 for found in detections], int),
        score=np.array([found[3] for found in detections], float),
        area=area,
        shapes=shapes,
    )


def as_coco(truth, found):
    """The same detections for pycocotools."""
    key = 'segmentation' if isinstance(found.shapes, list) else 'bbox'
    shapes = found.shapes if key == 'segmentation' else found.shapes.tolist()
    columns = zip(
        found.image.tolist(), found.category.tolist(), found.score.tolist(), shapes, strict=True
    )
    results = [
        {'image_id': image + 1, 'category_id': category + 1, 'score': score, key: shape}
        for image, category, score, shape in columns
    ]
    return truth.coco.loadRes(results)


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


@pytest.fixture(scope='session', name='make_truth')
def truth_maker():
    """See `make_truth`."""
    return make_truth


@pytest.fixture(scope='session', name='as_coco')
def coco_maker():
    """See `as_coco`."""
    return as_coco


@pytest.fixture(scope='session', name='make_results')
def results_maker():
    """See `make_results`."""
    return make_results


@pytest.fixture(scope='session', name='make_random')
def random_maker():
    """See `make_random`."""
    return make_random
