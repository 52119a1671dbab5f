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

    @property
    def classes_by_ap(self) -> list[ClassScore]:
        """From the highest AP to the lowest, those without ground truth last."""
        return sorted(self.classes, key=lambda kind: -np.nan_to_num(kind.ap, nan=-1))


def score(truth: GroundTruth, detections: Results, metric: str) -> Scores:
    """Evaluate as pycocotools does, and find what is wrong.

    Args:
        truth: annotations.
        detections: of its images.
        metric: ``'bbox'`` or ``'segm'``.
    """
    precision, recall = precision_and_recall(match(detections, truth, metric), truth.positives)
    points, _ = summaries(precision, recall)
    precision = np.ma.masked_less(precision[..., 0], 0)  # (IoU, recall, class)
    ap, ap50 = (np.ma.filled(p.mean((0, 1)), np.nan) for p in (precision, precision[:1]))
    diagnosis = diagnose(truth, detections, metric)
    objects = Counter(ann['category_id'] for image in diagnosis.images for ann in image.truth)
    names = dict(zip(truth.categories.tolist(), truth.names, strict=True))
    return Scores(
        metric,
        dict(zip(METRICS, np.where(points < 0, np.nan, points).tolist(), strict=True)),
        np.ma.filled(precision.mean(2), 0),
        [
            ClassScore(name, float(ap[k]), float(ap50[k]), objects[category])
            for k, (category, name) in enumerate(names.items())
        ],
        names,
        diagnosis,
    )
