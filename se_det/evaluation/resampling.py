"""Bootstrap of images, and what seeds add: from resampled metrics to an interval.

Images: the paired percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, chapters 8 and 13). Each resample draws as many images as there are, with replacement; an
image counts as often as it was drawn, and both sides are evaluated on the same draw.

Seeds: a checkpoint is one draw from all that its config could have trained. Resampling three or
five seeds, as the two-way bootstrap does (Owen, The pigeonhole bootstrap, Annals of Applied
Statistics 1, 2007), gives intervals that are too narrow: the variance of S resampled seeds is
(S - 1)/S of theirs, and their percentiles know no small-sample factor (Hesterberg, What teachers
should know about the bootstrap, The American Statistician 69, 2015). So the seeds' part is
Student's: each resample's difference carries the error of a difference of two means of S seeds,
Student's t with 2(S - 1) degrees of freedom times s sqrt(2/S), where s is the standard deviation
within the two arms, pooled. The interval's ends are percentiles of this mixture, solved for, not
drawn. With no spread between images, it is the two-sample t interval.

What an image does to one run and not to the next is in s and in the resamples, and would be
counted twice. It stays in s, whose degrees of freedom are known. In the resamples, deviations from
their mean are scaled down to the variance that all seeds of an arm share.

The arms are not paired by seed number: a seed shared by two architectures draws different
weights, and pairing would halve the degrees of freedom. Where runs of equal seeds do vary
together, the interval is too wide, never too narrow.

With one seed nothing is known about other seeds. With two, s rests on two differences, and that
both arms spread alike cannot be seen from them.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit


def draw_images(images: int, resamples: int, seed: int) -> np.ndarray:
    """Draw images with replacement.

    Args:
        images: how many there are, and how many each resample draws.
        resamples: how often.
        seed: of the random generator.

    Returns:
        How often each image was drawn in each resample, (images, resamples) of float32.
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((resamples, images), dtype=np.float32)
    for resample in weights:
        resample[:] = np.bincount(rng.integers(images, size=images), minlength=images)
    return np.ascontiguousarray(weights.T)


def interval(
    points: np.ndarray, resampled: np.ndarray, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of a difference, over images and, with several seeds, over seeds.

    Args:
        points: the value on all images of each seed of baseline and candidate, (2, S).
        resampled: the value in each resample of the images, (2, S, R); NaN where a resample has
            no object.
        confidence: the share of such intervals that shall hold the true difference.

    Returns:
        Both ends; NaN if there is nothing to compare.
    """
    resampled = resampled[..., ~np.isnan(resampled).any(axis=(0, 1))]
    if not resampled.shape[-1]:
        return float('nan'), float('nan')
    baseline, candidate = resampled.mean(axis=1)
    difference = candidate - baseline
    if _seed_variance(points) and (total := difference.var(ddof=1)) > 0:
        mixed = sum(mixed_variance(side) for side in resampled) / points.shape[1]
        shared = np.sqrt(max(total - mixed, 0) / total)
        difference = difference.mean() + shared * (difference - difference.mean())
    return seeds_interval(points, difference, confidence)


def mixed_variance(resampled: np.ndarray) -> float:
    """By how much more one run varies with the images than all runs of its arm vary together.

    Args:
        resampled: the value of each seed in each resample, (S, R), S > 1.
    """
    seeds = len(resampled)
    single, mean = resampled.var(axis=1, ddof=1).mean(), resampled.mean(axis=0).var(ddof=1)
    return float((single - mean) / (1 - 1 / seeds))


def seeds_interval(
    points: np.ndarray, difference: np.ndarray, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentiles of equally likely differences, with Student's error of the seeds' means.

    Args:
        points: the value of each seed of baseline and candidate, (2, S); with one seed, or without
            spread, there is no such error.
        difference: candidate minus baseline, (R,).
        confidence: between the percentiles.
    """
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    if variance := _seed_variance(points):
        seeds = points.shape[1]
        scale = np.sqrt(variance * 2 / seeds)
        low, high = (_percentile(difference, scale, 2 * (seeds - 1), tail) for tail in tails)
    else:
        low, high = np.quantile(difference, tails)
    return float(low), float(high)


def _seed_variance(points: np.ndarray) -> float:
    """Of ``points`` (2, S) within the two arms, pooled; 0 if S is 1 or only rounding differs."""
    variance = points.var(axis=1, ddof=1).mean() if points.shape[1] > 1 else 0.0
    return variance if variance > 1e-16 else 0.0


def _percentile(difference: np.ndarray, scale: float, freedom: int, level: float) -> float:
    """Of equally likely values, to each of which Student's t times ``scale`` is added."""
    error = stdtrit(freedom, level)
    return brentq(
        lambda end: stdtr(freedom, (end - difference) / scale).mean() - level,
        difference.min() + (error - 1e-6) * scale,
        difference.max() + (error + 1e-6) * scale,
    )
