"""Checks intervals and plans on detectors with a known true difference."""

from dataclasses import replace

import numpy as np

from se_det.evaluation.matching import Matches
from se_det.evaluation.resampling import draw_images, interval
from se_det.evaluation.sample_size import Pilot, pilot_of

from .simulation import Arms, Images, ap_of, resampled_ap


def coverage(
    arms: Arms, *, trials: int, images: int, seeds: int = 1, resamples: int = 1000
) -> dict[str, float]:
    """How often the true difference lies inside intervals that should hold it in 95 of 100 trials.

    Each trial draws new images, new seeds and new detections.

    Args:
        arms: what is compared.
        trials: how often.
        images: in each trial.
        seeds: of each arm.
        resamples: for each interval.

    Returns:
        Shares of the trials, by kind of interval: ours; that of images that count once however
        often they were drawn (hotcoco's); with several seeds, that of images only, and that of
        seeds drawn with replacement.
    """
    truth = arms.true_difference()
    rng = np.random.default_rng(1)
    hits: dict[str, list[bool]] = {}
    for trial in range(trials):
        sample = Images.draw(rng, images)
        weights = draw_images(images, resamples, trial)
        matches = arms.detect(rng, sample, seeds)
        points, drawn = _measured(matches, sample, weights)
        _, shortcut = _measured(matches, sample, np.minimum(weights, 1))
        intervals = {
            'ours': interval(points, drawn),
            'each image once': interval(points, shortcut),
        }
        if seeds > 1:
            again = rng.integers(seeds, size=(2, seeds, resamples))
            both = np.take_along_axis(drawn, again, axis=1)
            intervals['images only'] = _percentiles(drawn)
            intervals['seeds drawn with replacement'] = _percentiles(both)
        for kind, (low, high) in intervals.items():
            hits.setdefault(kind, []).append(low <= truth <= high)
    return {kind: float(np.mean(inside)) for kind, inside in hits.items()}


def draw_pilot(
    arms: Arms, rng: np.random.Generator, *, images: int, seeds: int, resamples: int = 500
) -> Pilot:
    """Draw a pilot experiment.

    Args:
        arms: what is compared.
        rng: the random generator.
        images: in the pilot.
        seeds: of each arm.
        resamples: of the images.
    """
    sample = Images.draw(rng, images)
    weights = draw_images(images, resamples, 0)
    return pilot_of(*_measured(arms.detect(rng, sample, seeds), sample, weights), images)


def pooled(pilots: list[Pilot]) -> Pilot:
    """The pilot whose variances are the means of others: power is no linear function of them.

    Args:
        pilots: of equally many images and seeds.
    """
    names = ('image_variance', 'mixed_variance', 'seed_variance')
    means = {name: np.mean([getattr(pilot, name) for pilot in pilots]) for name in names}
    return replace(pilots[0], **means)


def observed_power(
    arms: Arms, *, experiments: int, images: int, seeds: int, resamples: int = 200
) -> float:
    """Share of experiments whose interval lies above zero.

    Args:
        arms: what is compared.
        experiments: how many, each with new images, seeds and detections.
        images: in each.
        seeds: of each arm.
        resamples: of the images of each.
    """
    rng = np.random.default_rng(2)
    shown = 0
    for experiment in range(experiments):
        sample = Images.draw(rng, images)
        weights = draw_images(images, resamples, experiment)
        points, drawn = _measured(arms.detect(rng, sample, seeds), sample, weights)
        low, _ = interval(points, drawn)
        shown += low > 0
    return shown / experiments


def _percentiles(resampled: np.ndarray) -> tuple[float, float]:
    """Of the difference of the means over seeds, from (2, S, B)."""
    baseline, candidate = resampled.mean(axis=1)
    low, high = np.quantile(candidate - baseline, [0.025, 0.975])
    return low, high


def _measured(
    matches: list[list[Matches]], images: Images, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AP of each arm and seed, (2, S), and in each resample, (2, S, B)."""
    points = [[ap_of(m, images) for m in arm] for arm in matches]
    resampled = [[resampled_ap(m, images, weights) for m in arm] for arm in matches]
    return np.array(points), np.array(resampled)
