"""Precision and recall of many resamples at once.

A resample draws images with replacement: image i stands in it ``weight[i]`` times. Evaluated by
pycocotools, with a new id for each copy, a detection of that image would stand in the list of its
category ``weight[i]`` times. So the sums of true and false positives down that list are weighted
sums, and nothing has to be matched or sorted again. Three facts make this quick:

- Interpolated precision is a maximum over true positives: a false positive only lowers precision.
  So precision is computed where true positives are, a few per cent of the list.
- How many detections count up to there is nearly the same at all IoU thresholds. It is summed
  once; the few detections that count at some thresholds only are added to it.
- All resamples lie side by side in memory: each step is one operation on long rows.

Where detections of one image and category have equal scores, their copies take turns: first, then
second, first, then second. Such an image gets a row of weights for each copy; see `copy_weights`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

from se_det.evaluation.ground_truth import (
    AREAS,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    RECALL_THRESHOLDS,
    GroundTruth,
)
from se_det.evaluation.matching import Matches

BLOCK = 128  # resamples at a time: what is computed of them stays in the cache

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


@dataclass(frozen=True)
class _CategoryList:
    """The detections of one category and area where any IoU threshold sees a true positive.

    Attributes:
        rows: each one's row of weights, (U,).
        before: sums the weights of the detections that count at the last threshold, from one of
            them to the next, (U, rows of weights).
        true_positive: (T, U).
        also: 1 where one counts that does not at the last threshold, -1 the other way, (T, U).
        rank: (U,).
    """

    rows: np.ndarray
    before: csr_array
    true_positive: np.ndarray
    also: np.ndarray
    rank: np.ndarray


def resampled_metrics(matches: Matches, truth: GroundTruth, weights: np.ndarray) -> np.ndarray:
    """COCO's twelve metrics of each category in each resample.

    Args:
        matches: of one detector.
        truth: the annotations.
        weights: how many times each image stands in each resample, (I, B) of float32.

    Returns:
        (12, K, B), in the order of `METRICS`; NaN where a resample has no object of the category.
        The mean over categories, NaN left out, is pycocotools' summary.
    """
    detection, row, rows = _copies(matches, weights)
    blocks = [
        np.ascontiguousarray(rows[:, start : start + BLOCK])
        for start in range(0, rows.shape[1], BLOCK)
    ]
    starts = np.searchsorted(detection, matches.starts)
    values = np.full((len(METRICS), len(truth.categories), weights.shape[1]), np.nan)
    for k, (start, end) in enumerate(pairwise(starts.tolist())):
        for a in range(len(AREAS)):
            positives = truth.positives[a, k].astype(np.float32) @ weights
            if not positives.any():
                continue
            found = _category_list(matches, detection[start:end], row[start:end], a, len(rows))
            for b, block in enumerate(blocks):
                span = slice(b * BLOCK, b * BLOCK + block.shape[1])
                with np.errstate(divide='ignore', invalid='ignore'):
                    precision, recall = _averages(found, block, positives[span].astype(float))
                for m, (kind, area, thresholds, number) in enumerate(METRICS.values()):
                    if area == a:
                        table = precision if kind == 'precision' else recall[number]
                        values[m, k, span] = table[thresholds].mean(0)
    return values


def precision_and_recall(matches: Matches, truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """Accumulate as pycocotools does, to the last digit.

    Args:
        matches: of one detector.
        truth: the annotations.

    Returns:
        Precision by IoU threshold, recall threshold, category and area with 100 detections an
        image, (T, 101, K, A), and recall by IoU threshold, category, area and number of
        detections, (T, K, A, M), -1 where there is no object: pycocotools' ``eval``.
    """
    categories = len(truth.categories)
    thresholds, areas = len(IOU_THRESHOLDS), len(AREAS)
    precision = np.full((thresholds, len(RECALL_THRESHOLDS), categories, areas), -1.0)
    recall = np.full((thresholds, categories, areas, len(MAX_DETECTIONS)), -1.0)
    ones = np.ones((len(truth.images), 1), dtype=np.float32)
    for k, (start, end) in enumerate(pairwise(matches.starts.tolist())):
        detection = np.arange(start, end)
        for a in range(areas):
            positives = truth.positives[a, k].sum(keepdims=True).astype(float)
            if not positives.any():
                continue
            found = _category_list(matches, detection, matches.image[detection], a, len(ones))
            recall[:, k, a] = _recall(found, ones[found.rows], positives)[..., 0].T
            precision[:, :, k, a] = 0
            for t, (envelope, reached) in _curves(found, ones, positives):
                steps = np.repeat(envelope[:, 0], np.diff(reached[:, 0], prepend=0))
                precision[t, : len(steps), k, a] = steps
    return precision, recall


def summaries(matches: Matches, truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """COCO's twelve metrics, and AP of each category, to pycocotools' last digit.

    Args:
        matches: of one detector.
        truth: the annotations.

    Returns:
        (12,) and (K,), -1 where there is no object.
    """
    precision, recall = precision_and_recall(matches, truth)
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


def _copies(matches: Matches, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay out copies of an image that take turns in the list.

    Returns:
        indices into ``matches`` in the order of the list, the row of weights of each, and the rows.
    """
    same = matches.score[1:] == matches.score[:-1]
    same &= matches.image[1:] == matches.image[:-1]
    same[matches.starts[(matches.starts > 0) & (matches.starts < len(matches.score))] - 1] = False
    group = np.concatenate([[0], np.cumsum(~same)]) if len(matches.score) else np.zeros(0, int)
    size = np.bincount(group)
    finds = np.bincount(group, matches.true_positive.any((0, 1)))
    in_turns = ((size > 1) & (finds > 0))[group]
    detection = np.arange(len(group))
    if not in_turns.any():
        return detection, matches.image, weights

    copies = int(weights.max())
    images, place = np.unique(matches.image[in_turns], return_inverse=True)
    numbers = np.arange(copies)
    extra = (weights[images][:, None] > numbers[:, None]).astype(weights.dtype)
    rows = np.concatenate([weights, extra.reshape(-1, weights.shape[1])])
    repeated = np.repeat(detection[in_turns], copies)
    copy = np.tile(numbers, in_turns.sum())
    repeated_row = len(weights) + np.repeat(place * copies, copies) + copy
    detection = np.concatenate([detection[~in_turns], repeated])
    copy = np.concatenate([np.zeros((~in_turns).sum(), int), copy])
    row = np.concatenate([matches.image[~in_turns], repeated_row])
    order = np.lexsort((detection, copy, group[detection]))
    return detection[order], row[order], rows


def _category_list(
    matches: Matches, detection: np.ndarray, row: np.ndarray, area: int, rows: int
) -> _CategoryList:
    true_positive = matches.true_positive[area][:, detection]
    counts = ~matches.ignored[area][:, detection]
    at_last = counts[-1]
    used = np.flatnonzero((true_positive | (counts != at_last)).any(0))
    ends = np.concatenate([[0], np.cumsum(at_last)[used]])
    columns = row[at_last][: ends[-1]]
    return _CategoryList(
        rows=row[used],
        before=csr_array(
            (np.ones(len(columns), np.float32), columns, ends), shape=(len(used), rows)
        ),
        true_positive=true_positive[:, used],
        also=counts[:, used].astype(np.int8) - at_last[used],
        rank=matches.rank[detection[used]],
    )


def _averages(
    found: _CategoryList, weights: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean precision over recall thresholds (T, B), and recall (M, T, B)."""
    precision = np.zeros((len(IOU_THRESHOLDS), weights.shape[1]))
    for t, (envelope, reached) in _curves(found, weights, positives):
        reached[1:] -= reached[:-1].copy()
        precision[t] = np.einsum('ub,ub->b', envelope, reached)
    precision /= len(RECALL_THRESHOLDS)
    precision[:, positives == 0] = np.nan
    return precision, _recall(found, weights[found.rows], positives)


def _recall(found: _CategoryList, own: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Recall with each number of detections an image, (M, T, B)."""
    counted = [found.true_positive & (found.rank < most) for most in MAX_DETECTIONS]
    return np.stack([hits.astype(np.float32) @ own for hits in counted]) / positives


def _curves(
    found: _CategoryList, weights: np.ndarray, positives: np.ndarray
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """For each IoU threshold with true positives, at each of these and in each resample.

    Yields:
        The index of the threshold; interpolated precision, (true positives, B), and the number of
        recall thresholds reached, likewise.
    """
    own = weights[found.rows]  # (U, B)
    counted = np.cumsum(found.before @ weights, axis=0)
    for t, (hits, also) in enumerate(zip(found.true_positive, found.also, strict=True)):
        if not hits.any():
            continue
        true = np.cumsum(own[hits], axis=0, dtype=float)
        total = counted[hits].astype(float)
        if also.any():
            total += np.cumsum(own * also[:, None], axis=0)[hits]
        precision = true / (total + np.spacing(1))  # as pycocotools
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        recall = true / positives
        guess = np.nan_to_num(recall * 100 + 1e-9).astype(np.intp)
        yield t, (envelope, guess + (RECALL_THRESHOLDS[guess] <= recall))
