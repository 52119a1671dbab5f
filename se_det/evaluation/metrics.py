"""COCO's twelve metrics: on all images, to pycocotools' last digit, and in resamples of them."""

from itertools import pairwise

import numpy as np

from se_det.evaluation.accumulation import averages, category_list, curves, recall_of
from se_det.evaluation.ground_truth import AREAS, IOU_THRESHOLDS, MAX_DETECTIONS, RECALL_THRESHOLDS
from se_det.evaluation.matching import Matches

BLOCK = 1000  # resamples at a time, which bounds the memory

# COCO's twelve: precision or recall, area, IoU threshold or all, detections an image
METRICS = {
    'AP': ('precision', 0, slice(None), 2),
    'AP50': ('precision', 0, slice(0, 1), 2),
    'AP75': ('precision', 0, slice(5, 6), 2),
    'APs': ('precision', 1, slice(None), 2),
    'APm': ('precision', 2, slice(None), 2),
    'APl': ('precision', 3, slice(None), 2),
    'AR1': ('recall', 0, slice(None), 0),
    'AR10': ('recall', 0, slice(None), 1),
    'AR100': ('recall', 0, slice(None), 2),
    'ARs': ('recall', 1, slice(None), 2),
    'ARm': ('recall', 2, slice(None), 2),
    'ARl': ('recall', 3, slice(None), 2),
}


def resampled_metrics(matches: Matches, positives: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """COCO's twelve metrics of each category in each resample.

    Args:
        matches: of one detector.
        positives: objects to find, (A, K, I); see `GroundTruth.positives`.
        weights: how many times each image stands in each resample, (I, B) of float32.

    Returns:
        (12, K, B), in the order of `METRICS`; NaN where a resample has no object of the category.
        The mean over categories, NaN left out, is pycocotools' summary.
    """
    blocks = [
        np.ascontiguousarray(weights[:, start : start + BLOCK])
        for start in range(0, weights.shape[1], BLOCK)
    ]
    values = np.full((len(METRICS), positives.shape[1], weights.shape[1]), np.nan)
    for k, ends in enumerate(pairwise(matches.starts.tolist())):
        for a in range(len(AREAS)):
            objects = positives[a, k].astype(np.float32) @ weights
            if not objects.any():
                continue
            found = category_list(matches, slice(*ends), a, len(weights))
            for b, block in enumerate(blocks):
                span = slice(b * BLOCK, b * BLOCK + block.shape[1])
                some = np.maximum(objects[span], 1).astype(float)
                precision, recall = averages(found, block, some)
                for m, (kind, area, thresholds, number) in enumerate(METRICS.values()):
                    if area == a:
                        table = precision if kind == 'precision' else recall[number]
                        mean = table[thresholds].mean(0)
                        values[m, k, span] = np.where(objects[span] > 0, mean, np.nan)
    return values


def precision_and_recall(matches: Matches, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accumulate as pycocotools does, to the last digit.

    Args:
        matches: of one detector.
        positives: objects to find, (A, K, I); see `GroundTruth.positives`.

    Returns:
        Precision by IoU threshold, recall threshold, category and area with 100 detections an
        image, (T, 101, K, A), and recall by IoU threshold, category, area and number of
        detections, (T, K, A, M), -1 where there is no object: pycocotools' ``eval``.
    """
    categories = positives.shape[1]
    thresholds, areas = len(IOU_THRESHOLDS), len(AREAS)
    precision = np.full((thresholds, len(RECALL_THRESHOLDS), categories, areas), -1.0)
    recall = np.full((thresholds, categories, areas, len(MAX_DETECTIONS)), -1.0)
    ones = np.ones((positives.shape[2], 1), dtype=np.float32)
    for k, ends in enumerate(pairwise(matches.starts.tolist())):
        for a in range(areas):
            objects = positives[a, k].sum(keepdims=True).astype(float)
            if not objects.any():
                continue
            found = category_list(matches, slice(*ends), a, len(ones))
            recall[:, k, a] = recall_of(found, ones[found.image], objects)[..., 0].T
            precision[:, :, k, a] = 0
            for t, (envelope, reached) in curves(found, ones, objects):
                steps = np.repeat(envelope[:, 0], np.diff(reached[:, 0], prepend=0))
                precision[t, : len(steps), k, a] = steps
    return precision, recall


def summaries(precision: np.ndarray, recall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """COCO's twelve metrics, and AP of each category, to pycocotools' last digit.

    Args:
        precision: of `precision_and_recall`.
        recall: likewise.

    Returns:
        (12,) and (K,), -1 where there is no object.
    """
    points = []
    for kind, area, thresholds, number in METRICS.values():
        found = precision[..., area] if kind == 'precision' else recall[..., area, number]
        points.append(_mean_of_present(found[thresholds]))
    classes = [_mean_of_present(precision[:, :, k, 0]) for k in range(precision.shape[2])]
    return np.array(points), np.array(classes)


def class_mean(resampled: np.ndarray) -> np.ndarray:
    """Mean over the categories that a resample has objects of; NaN if none.

    Args:
        resampled: (12, K, B), of `resampled_metrics`.
    """
    present = ~np.isnan(resampled)
    with np.errstate(invalid='ignore'):
        return np.where(present, resampled, 0).sum(1) / present.sum(1)


def _mean_of_present(values: np.ndarray) -> float:
    """As pycocotools' ``summarize``: one sum over a flat array, so that digits are the same."""
    values = values[values > -1]
    return np.mean(values) if values.size else -1.0
