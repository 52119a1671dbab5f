"""Evaluates result files on all images and on draws of them."""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from se_det.errors import UsageError
from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.grouping import group_images
from se_det.evaluation.matching import match
from se_det.evaluation.metrics import (
    class_mean,
    precision_and_recall,
    resampled_metrics,
    summaries,
)
from se_det.evaluation.resampling import draw_images
from se_det.evaluation.results import read_results

FEWEST_RESAMPLES, MOST_RESAMPLES = 100, 100_000


@dataclass(frozen=True)
class Runs:
    """Metrics of N result files.

    Attributes:
        points: COCO's twelve on all images, pycocotools' to the last digit, (N, 12).
        class_points: AP of each class, (N, K).
        resampled: the twelve in each draw of images, (N, 12, B), NaN where there is no object.
        class_resampled: AP of each class, (N, K, B).
        names: of the classes.
        images: how many.
        groups: how many groups of images were drawn; None if images were.
    """

    points: np.ndarray
    class_points: np.ndarray
    resampled: np.ndarray
    class_resampled: np.ndarray
    names: list[str]
    images: int
    groups: int | None


def evaluate_runs(
    files: Sequence[str | Path],
    ann_file: str | Path,
    *,
    metric: str = 'bbox',
    resamples: int = 1000,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    workers: int = 2,
    group_by: str | None = None,
) -> Runs:
    """Evaluate result files on the same draws of images.

    Args:
        files: as ``baseline`` of `se_det.evaluation.compare_runs`, with the arguments below.
        ann_file: as in `compare_runs`.
        metric: as in `compare_runs`.
        resamples: as in `compare_runs`.
        seed: as in `compare_runs`.
        classes: as in `compare_runs`.
        workers: as in `compare_runs`.
        group_by: as in `compare_runs`.

    Raises:
        UsageError: a file cannot be used, or a number is out of range.
    """
    if not FEWEST_RESAMPLES <= resamples <= MOST_RESAMPLES:
        raise UsageError(
            f'A 95 % interval needs {FEWEST_RESAMPLES} resamples or more, better 1000, and no more '
            f'than {MOST_RESAMPLES}; got {resamples}.'
        )
    if seed < 0 or workers < 1:
        raise UsageError(f'seed must be 0 or more and workers 1 or more; got {seed} and {workers}.')
    truth = GroundTruth.read(ann_file, classes, masks=metric == 'segm')
    groups = group_images(truth.records, group_by, ann_file) if group_by is not None else None
    weights = draw_images(len(truth.images), resamples, seed, groups)
    evaluate = partial(_evaluate, truth=replace(truth, records=()), metric=metric, weights=weights)
    workers = min(workers, len(files))
    if workers > 1:
        # A forked process has torch and mmdet loaded; a new one takes seconds to import them.
        context = get_context('fork' if sys.platform == 'linux' else None)
        with ProcessPoolExecutor(workers, context) as pool:
            results = list(pool.map(evaluate, files))
    else:
        results = [evaluate(file) for file in files]
    arrays = (np.stack(values) for values in zip(*results, strict=True))
    return Runs(
        *arrays,
        names=truth.names,
        images=len(truth.images),
        groups=None if groups is None else int(groups.max()) + 1,
    )


def _evaluate(
    path: str | Path, truth: GroundTruth, metric: str, weights: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Metrics (12,), AP of classes (K,), and both in each draw, (12, B) and (K, B)."""
    matches = match(read_results(path, truth, metric), truth, metric)
    resampled = resampled_metrics(matches, truth.positives, weights)
    points = summaries(*precision_and_recall(matches, truth.positives))
    return *points, class_mean(resampled), resampled[0]
