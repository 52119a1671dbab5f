"""How many seeds and images it takes to show a difference.

A pilot shows what a difference of AP is made of, by the resampling that intervals come from
(`se_det.evaluation.resampling`):

- the images: how much the mean difference varies when other images are drawn;
- images and seeds together: how much more the difference of two runs varies than that mean;
- the seeds: how much AP varies between runs, less what the images do to it.

With more or fewer seeds and images, the first two variances fall as images grow, the last two as
seeds do. Power is the share of experiments whose interval lies above zero. The estimate is normal
and, independent of it, the spread of the seeds that its interval rests on is that of chi-square: so
power is the mean of a normal probability over chi-square. Without the images' part this is the
noncentral t distribution (Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 2,
1995, chapter 31).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2
from scipy.stats import norm as normal

from se_det.errors import UsageError
from se_det.evaluation.evaluated_results import evaluate_runs
from se_det.evaluation.resampling import mixed_variance, mixture

MOST_SEEDS = 20
LEVELS = (np.arange(100) + 0.5) / 100  # of equally likely values, for means over a distribution
SEED_SPREAD = 0.005  # four runs of one Faster R-CNN in mmdetection#2773: 80.86, 79.74, 79.85, 80.09
CORRELATION = 0.75  # of two detectors' AP over draws of images


@dataclass(frozen=True)
class Pilot:
    """The variances of a difference of AP.

    Attributes:
        images: of the pilot.
        seeds: of the pilot, a side.
        image_variance: of the mean difference, for as many images.
        mixed_variance: by how much more the difference of two single runs varies.
        seed_variance: of the AP of one run, on all images there could be.
        assumed: values that the pilot could not give, in words.
    """

    images: int
    seeds: int
    image_variance: float
    mixed_variance: float
    seed_variance: float
    assumed: tuple[str, ...]


@dataclass(frozen=True)
class SampleSize:
    """The seeds and images that it takes to show a difference.

    Attributes:
        difference: of AP, from 0 to 1.
        power: the share of experiments that shall show it.
        pilot: what was measured.
        powers: the share that does, by number of images and of seeds a side.
    """

    difference: float
    power: float
    pilot: Pilot
    powers: dict[int, dict[int, float]]

    def seeds(self, images: int) -> int | None:
        """Return the fewest seeds a side that suffice with so many images, None if not 20."""
        return next((s for s, power in self.powers[images].items() if power >= self.power), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a dict that ``json.dump`` takes."""
        return {**asdict(self), 'seeds': {images: self.seeds(images) for images in self.powers}}

    def to_table(self) -> str:
        """Return a Markdown table and what it rests on."""
        pilot = self.pilot
        lines = [
            f'To show a difference of {100 * self.difference:.2f} AP with a 95 % interval above '
            f'zero in {self.power:.0%} of experiments:\n',
            '| images | seeds a side | power |',
            '|---|---|---|',
        ]
        for images, powers in self.powers.items():
            seeds = self.seeds(images)
            last, most = list(powers.items())[-1]
            lines.append(f'| {images} | {seeds or f"more than {last}"} | {most:.0%} |')
        sds = [
            100 * v**0.5 for v in (pilot.image_variance, pilot.mixed_variance, pilot.seed_variance)
        ]
        lines.append(
            f'\nFrom a pilot of {pilot.images} images and {pilot.seeds} seeds a side: standard '
            f'deviation {sds[0]:.2f} AP from the images, {sds[1]:.2f} from images and seeds '
            f'together, {sds[2]:.2f} from the seeds of one side.'
        )
        lines += [f'Assumed: {text}' for text in pilot.assumed]
        return '\n'.join(lines)


def find_sample_size(
    baseline: Sequence[str | Path],
    candidate: Sequence[str | Path] | None,
    ann_file: str | Path,
    *,
    difference: float,
    power: float = 0.8,
    images: Sequence[int] | None = None,
    seed_spread: float | None = None,
    **evaluation: Any,
) -> SampleSize:
    """Plan an experiment from a pilot.

    Args:
        baseline: result files of the pilot, a seed each; see `compare_runs`.
        candidate: those of the other side; None if there are none yet.
        ann_file: the annotations of all.
        difference: of AP, from 0 to 1, that the experiment has to show.
        power: the share of experiments that have to show it.
        images: numbers of validation images to plan for; default the pilot's, and 2, 4 and 8
            times as many.
        seed_spread: standard deviation of AP between seeds, instead of the pilot's.
        **evaluation: ``metric``, ``resamples``, ``seed``, ``classes``, ``workers`` and
            ``group_by``, as in `compare_runs`. More images are taken to come in groups of the same
            size.

    Raises:
        UsageError: a file cannot be used, or a number is out of range.
    """
    if not 0 < difference < 1 or not 0 <= (seed_spread or 0) < 1:
        raise UsageError(
            'The difference is one of AP, above 0 and below 1 (100 in a command), and so is the '
            f'standard deviation between seeds, at least 0; got {difference} and {seed_spread}.'
        )
    if not 0 < power < 1:
        raise UsageError(f'The power must lie between 0 and 1; got {power}.')
    if images and min(images) < 1:
        raise UsageError(f'Numbers of images must be positive; got {min(images)}.')
    runs = evaluate_runs([*baseline, *(candidate or [])], ann_file, **evaluation)
    resampled = runs.resampled[:, 0]
    resampled = resampled[:, ~np.isnan(resampled).any(0)]
    if resampled.shape[1] < 2:
        raise UsageError(f'{ann_file} has no object to find: nothing can be planned from it.')
    count = len(baseline)
    arms = [slice(0, count), slice(count, None)] if candidate else [slice(0, count)]
    pilot = pilot_of(
        [runs.points[arm, 0] for arm in arms],
        [resampled[arm] for arm in arms],
        runs.images,
        seed_spread,
    )
    numbers = images or [pilot.images * factor for factor in (1, 2, 4, 8)]
    powers = {number: _powers(pilot, difference, power, number) for number in numbers}
    return SampleSize(difference, power, pilot, powers)


def pilot_of(
    points: Sequence[np.ndarray],
    resampled: Sequence[np.ndarray],
    images: int,
    seed_spread: float | None = None,
) -> Pilot:
    """Measure what a difference is made of.

    Args:
        points: AP of each seed, (S,), of one or two sides.
        resampled: AP of each seed in each resample of the images, (S, B), likewise.
        images: that were evaluated.
        seed_spread: standard deviation of AP between seeds, if it is known.
    """
    assumed = []
    seeds = min(len(side) for side in points)
    if seeds > 1:
        of_runs = [mixed_variance(side) for side in resampled]
    else:
        of_runs = [0.0 for _ in resampled]
        assumed.append('what images do to a difference, they do for all seeds alike')
    mixed = sum(of_runs)
    if len(resampled) == 2:
        of_mean = np.var(resampled[1].mean(0) - resampled[0].mean(0), ddof=1)
        of_seeds = sum(one / len(side) for one, side in zip(of_runs, resampled, strict=True))
        image = max(of_mean - of_seeds, 0.0)
    elif seeds > 1:
        image, mixed = 0.0, 2 * mixed
        assumed.append('the candidate differs from the baseline as seeds of the baseline do')
    else:
        image = 2 * np.var(resampled[0], axis=1, ddof=1).mean() * (1 - CORRELATION)
        assumed.append(f'AP of both sides correlates by {CORRELATION} over draws of images')
    if seed_spread is None and seeds > 1:
        within = np.mean([np.var(side, ddof=1) for side in points])
        spread = max(within - mixed / 2, 0.0)
    else:
        spread = (SEED_SPREAD if seed_spread is None else seed_spread) ** 2
        assumed.append(f'a standard deviation of {100 * spread**0.5:.2f} AP between seeds')
    return Pilot(images, seeds, float(image), float(mixed), float(spread), tuple(assumed))


def _powers(pilot: Pilot, difference: float, enough: float, images: int) -> dict[int, float]:
    """Power by number of seeds, from two up to the first that suffices."""
    powers: dict[int, float] = {}
    for seeds in range(2, MOST_SEEDS + 1):
        powers[seeds] = power_of(pilot, difference, seeds, images)
        if powers[seeds] >= enough:
            break
    return powers


def power_of(pilot: Pilot, difference: float, seeds: int, images: int) -> float:
    """Share of experiments whose interval lies above zero.

    Args:
        pilot: what a difference is made of.
        difference: the true one, of AP.
        seeds: a side, at least 2.
        images: to evaluate on.
    """
    fewer = pilot.images / images
    image = pilot.image_variance * fewer
    of_seeds = (2 * pilot.seed_variance + pilot.mixed_variance * fewer) / seeds
    freedom = 2 * (seeds - 1)
    deviations = normal.ppf(LEVELS) * np.sqrt(image)
    found = np.sqrt(of_seeds * chi2.ppf(LEVELS, freedom) / freedom)
    lows = np.array([mixture(deviations, scale, freedom)[0] for scale in found])
    error = max(np.sqrt(image + of_seeds), 1e-12)
    return float(normal.cdf((difference + lows) / error).mean())
