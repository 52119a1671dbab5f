"""Scores of detections: COCO's metrics, TIDE's errors, a confusion matrix."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.matching import match
from se_det.evaluation.metrics import METRICS, precision_and_recall, summaries
from se_det.evaluation.results import Results
from se_det.report.detection_errors import ErrorCosts, error_costs
from se_det.report.judged_images import FOREGROUND, JudgedImage, judge_images


@dataclass(frozen=True)
class ClassScore:
    """A class: its AP and AP50, NaN without ground truth, and how many objects it has."""

    name: str
    ap: float
    ap50: float
    objects: int


@dataclass(frozen=True)
class Scores:
    """Scores of detections.

    Attributes:
        metric: ``'bbox'`` or ``'segm'``.
        stats: the twelve numbers of pycocotools; NaN where there is no ground truth.
        precision: ``(10, 101)`` at IoU 0.50 to 0.95 and recall 0 to 1, the mean over classes.
        classes: in the order of the categories.
        names: of the categories, by id.
        images: every image, judged at IoU 0.5.
        costs: TIDE's errors.
        confusion: ``(K + 1, K + 1)``, see `confusion_matrix`, at ``costs.threshold``.
    """

    metric: str
    stats: dict[str, float]
    precision: np.ndarray
    classes: list[ClassScore]
    names: dict[int, str]
    images: list[JudgedImage]
    costs: ErrorCosts
    confusion: np.ndarray


def score(truth: GroundTruth, detections: Results, metric: str) -> Scores:
    """Evaluate as pycocotools does, judge each detection, and count.

    Args:
        truth: annotations.
        detections: of its images.
        metric: ``'bbox'`` or ``'segm'``.
    """
    matches = match(detections, truth, metric)
    points, _ = summaries(matches, truth.positives)
    precision = precision_and_recall(matches, truth.positives)[0][..., 0]  # (IoU, recall, class)
    precision = np.where(precision < 0, np.nan, precision)
    images = list(judge_images(truth, detections, metric))
    costs = error_costs(images)
    categories = truth.categories.tolist()
    objects = Counter(ann['category_id'] for image in images for ann in image.truth)
    return Scores(
        metric,
        dict(zip(METRICS, np.where(points < 0, np.nan, points).tolist(), strict=True)),
        np.nan_to_num(_mean(precision, axis=2)),
        [
            ClassScore(
                name,
                float(_mean(precision[:, :, index])),
                float(_mean(precision[0, :, index])),
                objects[category],
            )
            for index, (category, name) in enumerate(zip(categories, truth.names, strict=True))
        ],
        dict(zip(categories, truth.names, strict=True)),
        images,
        costs,
        confusion_matrix(images, categories, costs.threshold),
    )


def confusion_matrix(
    images: Sequence[JudgedImage], category_ids: Sequence[int], threshold: float
) -> np.ndarray:
    """Count the classes of detections by the classes of the objects.

    Detections of at least ``threshold``, best first, each take the free object, of whatever
    class, with which their IoU is highest and at least 0.5.

    Returns:
        ``(K + 1, K + 1)`` int, ground truth down, detections across; the last row is of detections
        where no object is, the last column of objects that were not found.
    """
    nothing = len(category_ids)
    places = {category: place for place, category in enumerate(category_ids)}
    counts = np.zeros((nothing + 1, nothing + 1), int)
    for image in images:
        wanted = [places[ann['category_id']] for ann in image.truth]
        free = np.ones(len(wanted), bool)
        for index in np.flatnonzero(image.scores >= threshold):
            overlap = image.iou[index]
            best = int(np.where(free, overlap, -1).argmax()) if len(wanted) else -1
            hit = best >= 0 and free[best] and overlap[best] >= FOREGROUND
            if hit:
                free[best] = False
            counts[wanted[best] if hit else nothing, places[image.classes[index]]] += 1
        for missed in np.flatnonzero(free):
            counts[wanted[missed], nothing] += 1
    return counts


def _mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of those that are not NaN; NaN where all are, without a warning."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
