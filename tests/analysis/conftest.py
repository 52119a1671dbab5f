"""Made-up annotations and detections."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO

from se_det.analysis.report.scores import load_results


def make_coco(annotations, images=1, categories=3):
    """Annotations given as ``(image, category, box)`` or ``(image, category, box, iscrowd)``."""
    truth = COCO()
    truth.dataset = dict(
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
            )
            for index, (image, category, box, *crowd) in enumerate(annotations)
        ],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def make_results(truth, detections):
    """Detections given as ``(image, category, box, score)``."""
    return load_results(
        truth,
        [
            dict(image_id=image, category_id=category, bbox=list(box), score=score)
            for image, category, box, score in detections
        ],
    )


def make_random(seed, crowds=False, images=30, categories=4):
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
    truth = make_coco(annotations, images, categories)
    return truth, make_results(truth, detections)


@pytest.fixture(scope='session', name='make_coco')
def coco_maker():
    """See `make_coco`."""
    return make_coco


@pytest.fixture(scope='session', name='make_results')
def results_maker():
    """See `make_results`."""
    return make_results


@pytest.fixture(scope='session', name='make_random')
def random_maker():
    """See `make_random`."""
    return make_random
