"""Two sides of result files, compared on the same images."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from se_det.errors import UsageError
from se_det.evaluation.accumulation import METRICS, class_mean, resampled_metrics, summaries
from se_det.evaluation.detections import read_detections
from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.matching import match
from se_det.evaluation.resampling import draw_images, interval
from se_det.evaluation.verdict import table, verdict


@dataclass(frozen=True)
class Difference:
    """One metric of both sides.

    Values are pycocotools', from 0 to 1, or -1 where no object is there to find.

    Attributes:
        baseline: mean over its seeds.
        candidate: likewise.
        difference: candidate minus baseline; None where there is nothing to compare.
        low: the lower end of the interval of the difference, or None.
        high: the upper end.
        baseline_seeds: the value of each seed, in the order of the files.
        candidate_seeds: likewise.
    """

    baseline: float
    candidate: float
    difference: float | None
    low: float | None
    high: float | None
    baseline_seeds: tuple[float, ...]
    candidate_seeds: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """A candidate against a baseline.

    Attributes:
        metric: ``'bbox'`` or ``'segm'``.
        metrics: COCO's twelve: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl.
        classes: AP of each class, by name.
        seeds: result files a side.
        images: images in the annotations.
        resamples: draws of images.
        confidence: of the intervals, 0.95.
        verdict: what AP's interval says, and what it covers: images, or images and seeds.
    """

    metric: str
    metrics: dict[str, Difference]
    classes: dict[str, Difference]
    seeds: int
    images: int
    resamples: int
    confidence: float
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a dict that ``json.dump`` takes."""
        return asdict(self)

    def to_table(self) -> str:
        """Return a Markdown table of the metrics, one of the classes, and the verdict."""
        return table(self)


def compare_runs(
    baseline: Sequence[str | Path],
    candidate: Sequence[str | Path],
    ann_file: str | Path,
    *,
    metric: str = 'bbox',
    resamples: int = 1000,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    workers: int = 2,
) -> Comparison:
    """Compare detectors on the same images, with intervals of the differences.

    How the intervals come about, and what they cover, is in `se_det.evaluation.resampling`.

    Args:
        baseline: a result file for each seed: the ``*.bbox.json`` or ``*.segm.json`` of mmdet's
            CocoMetric with ``outfile_prefix``, or the pkl of ``tools/test.py --out``.
        candidate: as many for the other side.
        ann_file: the annotations that both were evaluated with.
        metric: ``'bbox'`` or ``'segm'``.
        resamples: draws of images.
        seed: of these draws.
        classes: the classes of the configs, where these are not all of the annotations.
        workers: processes that evaluate result files.

    Raises:
        UsageError: a file cannot be used, or one side has more files than the other.
    """
    if not baseline or len(baseline) != len(candidate):
        raise UsageError(
            'Expected one result file for each seed of both sides, as many for one as for the '
            f'other; got {len(baseline)} of the baseline and {len(candidate)} of the candidate. '
            'Add the seeds that are missing in one, or leave them out in the other.'
        )
    truth = GroundTruth.read(ann_file, classes)
    weights = draw_images(len(truth.images), resamples, seed)
    evaluate = partial(_evaluate, truth=truth, metric=metric, weights=weights)
    files = [*baseline, *candidate]
    if workers > 1:
        with ProcessPoolExecutor(min(workers, len(files)), get_context('fork')) as pool:
            results = list(pool.map(evaluate, files))
    else:
        results = [evaluate(file) for file in files]
    seeds = len(baseline)
    points, class_points, resampled, class_resampled = (
        np.stack(values).reshape(2, seeds, *values[0].shape)
        for values in zip(*results, strict=True)
    )
    metrics = {
        name: _difference(points[..., m], resampled[..., m, :]) for m, name in enumerate(METRICS)
    }
    per_class = {
        name: _difference(class_points[..., k], class_resampled[..., k, :])
        for k, name in enumerate(truth.names)
    }
    return Comparison(
        metric=metric,
        metrics=metrics,
        classes=per_class,
        seeds=seeds,
        images=len(truth.images),
        resamples=resamples,
        confidence=0.95,
        verdict=verdict(metrics['AP'], seeds, len(truth.images)),
    )


def _evaluate(
    path: str | Path, truth: GroundTruth, metric: str, weights: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Metrics (12,), AP of classes (K,), and both in each resample, (12, B) and (K, B)."""
    matches = match(read_detections(path, truth, metric), truth, metric)
    resampled = resampled_metrics(matches, truth, weights)
    points, class_points = summaries(matches, truth)
    return points, class_points, class_mean(resampled), resampled[0]


def _difference(points: np.ndarray, resampled: np.ndarray) -> Difference:
    """Of values (2, S) and of resamples (2, S, B)."""
    baseline, candidate = points
    means = points.mean(1)
    difference = low = high = None
    if (points > -1).all():
        difference = float(means[1] - means[0])
        low, high = interval(resampled[1].mean(0) - resampled[0].mean(0), baseline, candidate)
    return Difference(
        baseline=float(means[0]),
        candidate=float(means[1]),
        difference=difference,
        low=low,
        high=high,
        baseline_seeds=tuple(baseline.tolist()),
        candidate_seeds=tuple(candidate.tolist()),
    )
