"""Sorts detections into correct ones and TIDE's types of errors (arXiv 2008.08115)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from pycocotools import mask as coco_mask

from se_det.evaluation.ground_truth import MAX_DETECTIONS, GroundTruth
from se_det.evaluation.results import Results

FOREGROUND = 0.5  # TIDE's t_f: from this IoU on, a detection finds an object
BACKGROUND = 0.1  # TIDE's t_b: up to this IoU, a detection is background


class Verdict(IntEnum):
    """The verdict on a detection; ``MISSED`` is one on ground truth."""

    CORRECT = 0
    IGNORED = 1
    CLASSIFICATION = 2
    LOCALISATION = 3
    BOTH = 4
    DUPLICATE = 5
    BACKGROUND = 6
    MISSED = 7


ERRORS = tuple(verdict for verdict in Verdict if verdict >= Verdict.CLASSIFICATION)


def judge(
    iou: np.ndarray, same_class: np.ndarray, in_crowd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Match the detections of an image as COCO does at IoU 0.5 and name the errors of the others.

    Args:
        iou: ``(D, G)``, detections by falling score, ground truth without crowds.
        same_class: ``(D, G)`` bool.
        in_crowd: ``(D,)`` bool; such a detection is ignored unless it is matched.

    Returns:
        The `Verdict` of each detection, and the index of the ground truth that it is matched
        with, or would be matched with if its class or its box were right; -1 where there is none.
    """
    verdicts = np.where(in_crowd, Verdict.IGNORED, Verdict.BACKGROUND)
    partners = np.full(len(iou), -1)
    if not iou.size:
        return verdicts, partners
    own, others = np.where(same_class, iou, 0.0), np.where(same_class, 0.0, iou)
    free = np.ones(iou.shape[1], bool)
    for index in np.flatnonzero((own >= FOREGROUND).any(1)):
        candidates = np.where(free, own[index], 0.0)
        best = len(free) - 1 - candidates[::-1].argmax()  # the last of equals, as in pycocotools
        if candidates[best] >= FOREGROUND:
            free[best] = False
            verdicts[index], partners[index] = Verdict.CORRECT, best

    in_paper_order = {
        Verdict.LOCALISATION: (own.max(1) >= BACKGROUND) & (own.max(1) <= FOREGROUND),
        Verdict.CLASSIFICATION: others.max(1) >= FOREGROUND,
        Verdict.DUPLICATE: own.max(1) >= FOREGROUND,
        Verdict.BACKGROUND: iou.max(1) <= BACKGROUND,
    }
    wrong = verdicts == Verdict.BACKGROUND
    named = np.select(list(in_paper_order.values()), list(in_paper_order), Verdict.BOTH)
    verdicts[wrong] = named[wrong]
    for verdict, overlap in ((Verdict.LOCALISATION, own), (Verdict.CLASSIFICATION, others)):
        partners[verdicts == verdict] = overlap.argmax(1)[verdicts == verdict]
    return verdicts, partners


@dataclass(frozen=True)
class JudgedImage:
    """An image's detections, by falling score, and its ground truth, with their verdicts.

    Attributes:
        image_id: in the annotations.
        classes: ids of the categories of the detections, ``(D,)``.
        scores: ``(D,)``.
        shapes: boxes ``[x, y, width, height]``, ``(D, 4)``, or run-length encoded masks.
        truth: COCO annotations that are no crowds, G of them.
        iou: ``(D, G)``.
        verdicts: ``(D,)``, see `judge`.
        partners: ``(D,)``, see `judge`.
    """

    image_id: int
    classes: np.ndarray
    scores: np.ndarray
    shapes: np.ndarray | list[dict]
    truth: Sequence[dict]
    iou: np.ndarray
    verdicts: np.ndarray
    partners: np.ndarray

    def found(self, threshold: float = 0.0) -> np.ndarray:
        """Which ground truth detections of at least this score are matched with, ``(G,)`` bool."""
        found = np.zeros(len(self.truth), bool)
        matched = (self.verdicts == Verdict.CORRECT) & (self.scores >= threshold)
        found[self.partners[matched]] = True
        return found

    def f1(self, threshold: float) -> float:
        """``2 TP / (2 TP + FP + FN)`` of the detections of at least this score; 1 if all are 0."""
        correct = self.found(threshold).sum()
        counted = (self.verdicts != Verdict.IGNORED) & (self.scores >= threshold)
        total = counted.sum() + len(self.truth)
        return float(2 * correct / total) if total else 1.0


def judge_images(truth: GroundTruth, detections: Results, metric: str) -> Iterator[JudgedImage]:
    """Judge the detections of each image, in the order of their ids.

    Args:
        truth: annotations.
        detections: of its images.
        metric: ``'bbox'`` or ``'segm'``: overlap of boxes or of masks.
    """
    order = np.lexsort((-detections.score, detections.image))
    starts = np.searchsorted(detections.image[order], np.arange(len(truth.images) + 1))
    categories = set(truth.categories.tolist())
    for index, image_id in enumerate(truth.images.tolist()):
        kept = _best_of_each_class(order[starts[index] : starts[index + 1]], detections.category)
        shapes = _rows(detections.shapes, kept)
        classes = truth.categories[detections.category[kept]]
        annotations = [a for a in truth.coco.imgToAnns[image_id] if a['category_id'] in categories]
        objects, crowds = (
            [ann for ann in annotations if bool(ann.get('iscrowd', 0)) is crowd]
            for crowd in (False, True)
        )
        iou, covered = (
            _overlaps(shapes, group, crowd, truth, metric)
            for group, crowd in ((objects, 0), (crowds, 1))
        )
        in_crowd = ((covered >= FOREGROUND) & _same_class(classes, crowds)).any(1)
        judged = judge(iou, _same_class(classes, objects), in_crowd)
        yield JudgedImage(image_id, classes, detections.score[kept], shapes, objects, iou, *judged)


def _best_of_each_class(by_score: np.ndarray, category: np.ndarray) -> np.ndarray:
    """The detections of an image that COCO evaluates: 100 of each class."""
    if len(by_score) <= MAX_DETECTIONS[-1]:
        return by_score
    seen = Counter()
    kept = []
    for index in by_score.tolist():
        seen[category[index]] += 1
        if seen[category[index]] <= MAX_DETECTIONS[-1]:
            kept.append(index)
    return np.array(kept)


def _rows(shapes: np.ndarray | list[dict], kept: np.ndarray) -> np.ndarray | list[dict]:
    return [shapes[index] for index in kept] if isinstance(shapes, list) else shapes[kept]


def _overlaps(
    shapes: np.ndarray | list[dict],
    annotations: list[dict],
    crowd: int,
    truth: GroundTruth,
    metric: str,
) -> np.ndarray:
    """IoU, or with a crowd the part of a detection that it covers, ``(D, annotations)``."""
    if not len(shapes) or not annotations:
        return np.zeros((len(shapes), len(annotations)))
    if metric == 'bbox':
        outlines = np.array([ann['bbox'] for ann in annotations], float)
    else:
        outlines = [truth.coco.annToRLE(ann) for ann in annotations]
    return coco_mask.iou(shapes, outlines, [crowd] * len(annotations))


def _same_class(classes: np.ndarray, annotations: list[dict]) -> np.ndarray:
    return classes[:, None] == np.array([ann['category_id'] for ann in annotations], int)
