"""Two sides of result files, compared on the same images."""

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from se_det.errors import UsageError
from se_det.evaluation.evaluated_results import evaluate_runs
from se_det.evaluation.looks import check_looks, confidence_at
from se_det.evaluation.metrics import METRICS
from se_det.evaluation.resampling import interval
from se_det.evaluation.verdict import Comparison, Difference


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
    group_by: str | None = None,
    paired: bool = False,
    looks: Sequence[int] | None = None,
) -> Comparison:
    """Compare detectors on the same images, with intervals of the differences.

    `se_det.evaluation.resampling` explains the intervals and what they cover, and
    `se_det.evaluation.looks` those of several looks.

    Args:
        baseline: a result file for each seed: the ``*.bbox.json`` or ``*.segm.json`` of mmdet's
            CocoMetric with ``outfile_prefix``, or the pkl of ``tools/test.py --out``. The same
            file given twice is one seed.
        candidate: as many for the other side.
        ann_file: the annotations that both were evaluated with.
        metric: ``'bbox'`` or ``'segm'``.
        resamples: draws of images.
        seed: of these draws.
        classes: the classes of the configs, where these are not all of the annotations.
        workers: processes that evaluate result files.
        group_by: draw groups of images that belong together: a key that the images of the
            annotations have, or a regular expression on their ``file_name``.
        paired: compare the files in pairs, in their order, if that was planned.
        looks: the numbers of seeds a side at which it was planned to look, such as 6, 9 and 12;
            this is one of them. Default: one look.

    Raises:
        UsageError: a file cannot be used, one side has more seeds than the other, these are none
            of the looks, images have no groups, or there are fewer than 100 resamples.
    """
    kept, repeated = zip(*map(_distinct, (baseline, candidate)), strict=True)
    repeated = repeated[0] + repeated[1]
    seeds = len(kept[0])
    if not seeds or seeds != len(kept[1]) or (paired and {*kept[0]} != {*kept[1]}):
        raise UsageError(
            'Expected one result file for each seed of both sides, as many for one as for the '
            f'other; got {seeds} of the baseline and {len(kept[1])} of the candidate. '
            'Add the seeds that are missing in one, or leave them out in the other.'
            + ''.join(f' {repeat}.' for repeat in repeated)
        )
    looks = check_looks(looks, 'looks') if looks else (seeds,)
    if seeds not in looks:
        raise UsageError(
            f'The planned looks are at {", ".join(map(str, looks))} seeds a side; got {seeds}. '
            'Compare as many as at one of the looks.'
        )
    confidence = confidence_at(looks, seeds)
    runs = evaluate_runs(
        [*kept[0].values(), *kept[1].values()],
        ann_file,
        metric=metric,
        resamples=resamples,
        seed=seed,
        classes=classes,
        workers=workers,
        group_by=group_by,
    )
    difference = partial(_difference, confidence=confidence, paired=paired, groups=runs.groups)
    metrics = {
        name: difference(runs.points[:, m], runs.resampled[:, m]) for m, name in enumerate(METRICS)
    }
    per_class = {
        name: difference(runs.class_points[:, k], runs.class_resampled[:, k])
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
        paired=paired,
        looks=looks,
        groups=runs.groups,
        repeated=repeated,
    )


def _distinct(files: Sequence[str | Path]) -> tuple[dict[int, str | Path], tuple[str, ...]]:
    """Those that do not repeat another, by their places, and in words those that do."""
    kept, repeated, first = {}, [], {}
    for place, file in enumerate(files):
        content = Path(file).read_bytes() if Path(file).is_file() else b''
        # Any run that finds nothing writes []; a file that is not there is reported later.
        key = sha256(content).digest() if len(content) > 2 else place
        if key in first:
            repeated.append(f'{file} has the content of {first[key]}: they are one seed')
        else:
            first[key] = kept[place] = file
    return kept, tuple(repeated)


def _difference(points: np.ndarray, resampled: np.ndarray, **options: Any) -> Difference:
    """Of values (2 S,), the baseline's first, and of resamples (2 S, R)."""
    both = points.reshape(2, -1)
    baseline, candidate = both
    means = both.mean(axis=1)
    difference = low = high = None
    if (points > -1).all():
        difference = float(means[1] - means[0])
        low, high = interval(both, resampled.reshape(*both.shape, -1), **options)
    return Difference(
        baseline=float(means[0]),
        candidate=float(means[1]),
        difference=difference,
        low=low,
        high=high,
        baseline_seeds=tuple(baseline.tolist()),
        candidate_seeds=tuple(candidate.tolist()),
    )
