"""The AP that errors cost, by TIDE's six types (Bolya et al. 2020, arXiv 2008.08115)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from se_det.evaluation.ground_truth import RECALL_THRESHOLDS
from se_det.report.judged_images import ERRORS, JudgedImage, Verdict


@dataclass(frozen=True)
class ErrorCosts:
    """The AP that each type of error costs, as TIDE measures it.

    Attributes:
        ap50: AP at IoU 0.5, the mean over classes with ground truth.
        gains: by how much `ap50` would rise if all errors of a type were fixed and nothing else.
        counts: how many errors there are of each type.
        threshold: the score from which on F1, over all classes at IoU 0.5, is highest.
    """

    ap50: float
    gains: dict[Verdict, float]
    counts: dict[Verdict, int]
    threshold: float


def error_costs(images: Sequence[JudgedImage]) -> ErrorCosts:
    """Fix each type of error in turn, as TIDE does, and measure the gain of AP at IoU 0.5.

    A classification or localisation error becomes a correct detection if it is the best of those
    that concern its object and no detection found that object; all other errors are deleted.
    Missed objects, those that no such fix would find, are no longer counted. Unlike tidecv,
    which also fixes detections that a crowd makes ignored, and counts classes without ground
    truth as AP 0, this follows pycocotools in both. A class all of whose objects were missed
    leaves the mean when they are no longer counted.
    """
    verdicts, classes, scores, partners = [], [], [], []
    truth_classes = []
    for image in images:
        partners.append(np.where(image.partners < 0, -1, image.partners + len(truth_classes)))
        verdicts.append(image.verdicts)
        scores.append(image.scores)
        classes.append(image.classes)
        truth_classes += [ann['category_id'] for ann in image.truth]
    verdicts, classes, scores, partners = map(np.concatenate, (verdicts, classes, scores, partners))
    truth_classes = np.array(truth_classes, int)

    found = np.zeros(len(truth_classes), bool)
    found[partners[verdicts == Verdict.CORRECT]] = True
    mendable = np.isin(verdicts, (Verdict.CLASSIFICATION, Verdict.LOCALISATION))
    mendable &= ~np.append(found, True)[partners]
    by_score = np.flatnonzero(mendable)[np.argsort(-scores[mendable], kind='stable')]
    mended_truth, first = np.unique(partners[by_score], return_index=True)
    best = np.zeros(len(verdicts), bool)
    best[by_score[first]] = True
    missed = ~found
    missed[mended_truth] = False

    correct, counted = verdicts == Verdict.CORRECT, verdicts != Verdict.IGNORED
    ap50 = _mean_ap(classes[counted], scores[counted], correct[counted], truth_classes)
    mended = {
        Verdict.MISSED: _mean_ap(
            classes[counted], scores[counted], correct[counted], truth_classes[~missed]
        )
    }
    for error in ERRORS[:-1]:
        turned = best & (verdicts == error)
        kept = counted & ((verdicts != error) | turned)
        mended_classes = np.where(turned, np.append(truth_classes, 0)[partners], classes)
        mended[error] = _mean_ap(
            mended_classes[kept], scores[kept], (correct | turned)[kept], truth_classes
        )
    counts = {error: int((verdicts == error).sum()) for error in ERRORS}
    return ErrorCosts(
        ap50,
        gains={error: max(0.0, mended[error] - ap50) for error in ERRORS},
        counts={**counts, Verdict.MISSED: int(missed.sum())},
        threshold=_best_threshold(scores[counted], correct[counted], len(truth_classes)),
    )


def _mean_ap(
    classes: np.ndarray, scores: np.ndarray, correct: np.ndarray, truth_classes: np.ndarray
) -> float:
    """COCO's AP at one IoU: precision at 101 recalls, the mean over classes with ground truth."""
    order = np.argsort(-scores, kind='stable')
    aps = []
    for category, objects in zip(*np.unique(truth_classes, return_counts=True), strict=True):
        hits = correct[order][classes[order] == category]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(np.cumsum(hits) / objects, RECALL_THRESHOLDS, side='left')
        aps.append(np.append(envelope, np.zeros(102))[np.minimum(reached, len(hits))].mean())
    return float(np.mean(aps)) if aps else 0.0


def _best_threshold(scores: np.ndarray, correct: np.ndarray, objects: int) -> float:
    order = np.argsort(-scores, kind='stable')
    f1 = 2 * np.cumsum(correct[order]) / (np.arange(1, len(order) + 1) + objects)
    f1[:-1][np.diff(scores[order]) == 0] = 0  # a threshold takes all of equal scores
    return float(scores[order][f1.argmax()]) if len(f1) and f1.max() > 0 else 0.5
