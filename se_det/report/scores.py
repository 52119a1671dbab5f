"""Scores of detections: COCO's metrics, and what is wrong with them."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.matching import match
from se_det.evaluation.metrics import METRICS, precision_and_recall, summaries
from se_det.evaluation.results import Results
from se_det.report.diagnosis import Diagnosis, diagnose


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
        diagnosis: what is wrong with them.
    """

    metric: str
    stats: dict[str, float]
    precision: np.ndarray
    classes: list[ClassScore]
    names: dict[int, str]
    diagnosis: Diagnosis


def score(truth: GroundTruth, detections: Results, metric: str) -> Scores:
    """Evaluate as pycocotools does, and find what is wrong.

    Args:
        truth: annotations.
        detections: of its images.
        metric: ``'bbox'`` or ``'segm'``.
    """
    matches = match(detections, truth, metric)
    points, _ = summaries(matches, truth.positives)
    precision = precision_and_recall(matches, truth.positives)[0][..., 0]  # (IoU, recall, class)
    precision = np.where(precision < 0, np.nan, precision)
    diagnosis = diagnose(truth, detections, metric)
    categories = truth.categories.tolist()
    objects = Counter(ann['category_id'] for image in diagnosis.images for ann in image.truth)
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
        diagnosis,
    )


def _mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of those that are not NaN; NaN where all are, without a warning."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
