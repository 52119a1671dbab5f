"""Detections measured against annotations: COCO's numbers, and where they are lost."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from se_det.analysis.detection_errors import (
    FOREGROUND,
    ErrorCosts,
    JudgedImage,
    error_costs,
    judge_images,
)

# Name, IoU, area, detections an image: the rows of pycocotools' table.
COCO_METRICS = (
    ('AP', '0.50:0.95', 'all', 100),
    ('AP50', '0.50', 'all', 100),
    ('AP75', '0.75', 'all', 100),
    ('APs', '0.50:0.95', 'small', 100),
    ('APm', '0.50:0.95', 'medium', 100),
    ('APl', '0.50:0.95', 'large', 100),
    ('AR1', '0.50:0.95', 'all', 1),
    ('AR10', '0.50:0.95', 'all', 10),
    ('AR100', '0.50:0.95', 'all', 100),
    ('ARs', '0.50:0.95', 'small', 100),
    ('ARm', '0.50:0.95', 'medium', 100),
    ('ARl', '0.50:0.95', 'large', 100),
)


@dataclass(frozen=True)
class ClassScore:
    """A class: its AP and AP50, NaN without ground truth, and how many objects it has."""

    name: str
    ap: float
    ap50: float
    objects: int


@dataclass(frozen=True)
class Scores:
    """Detections measured against annotations.

    Attributes:
        iou_type: ``'bbox'`` or ``'segm'``.
        stats: the twelve numbers of pycocotools; NaN where there is no ground truth.
        precision: ``(10, 101)`` at IoU 0.50 to 0.95 and recall 0 to 1, the mean over classes.
        classes: in the order of the categories.
        names: of the categories, by id.
        images: every image, judged at IoU 0.5.
        costs: TIDE's errors.
        confusion: ``(K + 1, K + 1)``, see `confusion_matrix`, at ``costs.threshold``.
    """

    iou_type: str
    stats: dict[str, float]
    precision: np.ndarray
    classes: list[ClassScore]
    names: dict[int, str]
    images: list[JudgedImage]
    costs: ErrorCosts
    confusion: np.ndarray


def load_results(truth: COCO, results: list[dict]) -> COCO:
    """``truth.loadRes`` that takes an empty list too."""
    with contextlib.redirect_stdout(io.StringIO()):
        if results:
            return truth.loadRes(results)
        empty = COCO()
        empty.dataset = {**truth.dataset, 'annotations': []}
        empty.createIndex()
    return empty


def score(
    truth: COCO, results: COCO, iou_type: str, category_ids: Sequence[int] | None = None
) -> Scores:
    """Evaluate with pycocotools, judge each detection, and count.

    Args:
        truth: annotations.
        results: detections, of `load_results`.
        iou_type: ``'bbox'`` or ``'segm'``.
        category_ids: the categories to evaluate; default all.
    """
    category_ids = list(truth.getCatIds() if category_ids is None else category_ids)
    evaluation = COCOeval(truth, results, iou_type)
    evaluation.params.catIds = category_ids
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval['precision'][:, :, :, 0, -1]  # (IoU, recall, class)
    precision = np.where(precision < 0, np.nan, precision)
    images = list(judge_images(truth, results, iou_type, set(category_ids)))
    costs = error_costs(images)
    objects = [ann['category_id'] for image in images for ann in image.truth]
    return Scores(
        iou_type,
        {
            name: float(value) if value >= 0 else float('nan')
            for (name, *_), value in zip(COCO_METRICS, evaluation.stats, strict=True)
        },
        np.nan_to_num(_mean(precision, axis=2)),
        [
            ClassScore(
                truth.cats[category]['name'],
                float(_mean(precision[:, :, index])),
                float(_mean(precision[0, :, index])),
                objects.count(category),
            )
            for index, category in enumerate(category_ids)
        ],
        {category: truth.cats[category]['name'] for category in category_ids},
        images,
        costs,
        confusion_matrix(images, category_ids, costs.threshold),
    )


def confusion_matrix(
    images: Sequence[JudgedImage], category_ids: Sequence[int], threshold: float
) -> np.ndarray:
    """Count which class was found where which one is.

    Detections of at least ``threshold``, best first, each take the free object, of whatever
    class, with which their IoU is highest and at least 0.5.

    Returns:
        ``(K + 1, K + 1)`` int, ground truth down, detections across; the last row is of detections
        where no object is, the last column of objects that were not found.
    """
    nothing = len(category_ids)
    index = {category: position for position, category in enumerate(category_ids)}
    counts = np.zeros((nothing + 1, nothing + 1), int)
    for image in images:
        wanted = [index[ann['category_id']] for ann in image.truth]
        free = np.ones(len(wanted), bool)
        for detection, overlap in zip(image.detections, image.iou, strict=True):
            if detection['score'] < threshold:
                break
            best = int(np.where(free, overlap, -1).argmax()) if len(wanted) else -1
            hit = best >= 0 and free[best] and overlap[best] >= FOREGROUND
            if hit:
                free[best] = False
            counts[wanted[best] if hit else nothing, index[detection['category_id']]] += 1
        for missed in np.flatnonzero(free):
            counts[wanted[missed], nothing] += 1
    return counts


def _mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of those that are not NaN; NaN where all are, without a warning."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
