"""Two sides of result files, compared on the same images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from se_det.errors import UsageError
from se_det.evaluation.evaluated_results import evaluate_runs
from se_det.evaluation.metrics import METRICS
from se_det.evaluation.resampling import interval
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

    `se_det.evaluation.resampling` explains the intervals and what they cover.

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
        UsageError: a file cannot be used, one side has more files than the other, or there are
            fewer than 100 resamples.
    """
    if not baseline or len(baseline) != len(candidate):
        raise UsageError(
            'Expected one result file for each seed of both sides, as many for one as for the '
            f'other; got {len(baseline)} of the baseline and {len(candidate)} of the candidate. '
            'Add the seeds that are missing in one, or leave them out in the other.'
        )
    runs = evaluate_runs(
        [*baseline, *candidate],
        ann_file,
        metric=metric,
        resamples=resamples,
        seed=seed,
        classes=classes,
        workers=workers,
    )
    seeds = len(baseline)
    metrics = {
        name: _difference(runs.points[:, m], runs.resampled[:, m]) for m, name in enumerate(METRICS)
    }
    per_class = {
        name: _difference(runs.class_points[:, k], runs.class_resampled[:, k])
        for k, name in enumerate(runs.names)
    }
    return Comparison(
        metric=metric,
        metrics=metrics,
        classes=per_class,
        seeds=seeds,
        images=runs.images,
        resamples=resamples,
        confidence=0.95,
        verdict=verdict(metrics['AP'], seeds, runs.images),
    )


def _difference(points: np.ndarray, resampled: np.ndarray) -> Difference:
    """Of values (2 S,), the baseline's first, and of resamples (2 S, R)."""
    both = points.reshape(2, -1)
    baseline, candidate = both
    means = both.mean(axis=1)
    difference = low = high = None
    if (points > -1).all():
        difference = float(means[1] - means[0])
        low, high = interval(both, resampled.reshape(*both.shape, -1))
    return Difference(
        baseline=float(means[0]),
        candidate=float(means[1]),
        difference=difference,
        low=low,
        high=high,
        baseline_seeds=tuple(baseline.tolist()),
        candidate_seeds=tuple(candidate.tolist()),
    )
