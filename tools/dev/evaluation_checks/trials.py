"""Checks intervals and plans on detectors with a known true difference."""

from collections.abc import Sequence

import numpy as np

from se_det.evaluation.looks import confidence_at
from se_det.evaluation.resampling import draw_images, interval
from se_det.evaluation.sample_size import Pilot

from .simulation import Arms, Images, ap_of, resampled_ap

EACH, PLANNED = 'each look at 95 %', 'planned looks'


def coverage(
    arms: Arms,
    *,
    trials: int,
    images: int,
    seeds: Sequence[int] = (1, 3, 5, 7),
    resamples: int = 400,
) -> dict[str, dict[int | str, float]]:
    """How often the true difference lies inside intervals that should hold it in 95 of 100 trials.

    Each trial draws new images, new seeds and new detections.

    Args:
        arms: what is compared.
        trials: how often.
        images: in each trial.
        seeds: of each arm, rising.
        resamples: for each interval.

    Returns:
        Shares of the trials by what is drawn, images or groups of them, and by number of seeds;
        and the share in which the intervals at all numbers of seeds from 2 on hold it, `EACH` of
        them at 95 % or `PLANNED`.
    """
    rng = np.random.default_rng(1)
    looks = [count for count in seeds if count > 1]
    groups = np.arange(images) // arms.group
    drawn = {'images': None, **({f'groups of {arms.group}': groups} if arms.group > 1 else {})}
    hits: dict[str, dict[int | str, list[bool]]] = {way: {} for way in drawn}
    for trial in range(trials):
        sample = Images.draw(rng, images)
        matches = arms.detect(rng, sample, seeds[-1])
        for way, grouped in drawn.items():
            weights = draw_images(images, resamples, trial, grouped)
            points, resampled = _measured(matches, sample, weights)

            def holds(
                count: int, confidence: float, measured=(points, resampled), grouped=grouped
            ) -> bool:
                number = None if grouped is None else int(grouped[-1]) + 1
                first = (values[:, :count] for values in measured)
                low, high = interval(*first, confidence, groups=number)
                return low <= arms.true_difference <= high

            inside = {count: holds(count, 0.95) for count in seeds}
            if looks:
                inside[EACH] = all(inside[count] for count in looks)
                inside[PLANNED] = all(holds(n, confidence_at(looks, n)) for n in looks)
            for column, hit in inside.items():
                hits[way].setdefault(column, []).append(hit)
    return {
        way: {column: float(np.mean(inside)) for column, inside in columns.items()}
        for way, columns in hits.items()
    }


def draw_experiment(
    rng: np.random.Generator, pilot: Pilot, difference: float, seeds: int, resamples: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Draw AP of an experiment on as many images as the pilot's, from normal distributions.

    Args:
        rng: the random generator.
        pilot: the variances.
        difference: the true one.
        seeds: of each arm.
        resamples: of the images.

    Returns:
        AP of each arm and seed, (2, S), and in each resample, (2, S, resamples).
    """
    shared = np.sqrt(pilot.image_variance) * rng.normal(size=resamples + 1)
    own = np.sqrt(pilot.mixed_variance / 2) * rng.normal(size=(2, seeds, resamples + 1))
    found = np.sqrt(pilot.seed_variance) * rng.normal(size=(2, seeds))
    found[1] += difference + shared[-1]
    found += own[..., -1]
    resampled = found[..., None] + own[..., :-1]
    resampled[1] += shared[:-1]
    return found, resampled


def observed_power(pilot: Pilot, difference: float, *, seeds: int, experiments: int) -> float:
    """Share of experiments whose interval lies above zero.

    Args:
        pilot: the variances.
        difference: the true one.
        seeds: of each arm.
        experiments: how many.
    """
    rng = np.random.default_rng(2)
    drawn = (draw_experiment(rng, pilot, difference, seeds) for _ in range(experiments))
    return float(np.mean([interval(*experiment)[0] > 0 for experiment in drawn]))


def _measured(
    found: list[list[np.ndarray]], images: Images, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AP of each arm and seed, (2, S), and in each resample, (2, S, B)."""
    points = [[ap_of(run, images) for run in arm] for arm in found]
    resampled = [[resampled_ap(run, images, weights) for run in arm] for arm in found]
    return np.array(points), np.array(resampled)
