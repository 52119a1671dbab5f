"""Bootstrap of images, and what seeds add: from resampled metrics to an interval.

Images: the paired percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, chapters 8 and 13). Each resample draws as many images as there are, with replacement; an
image counts as often as it was drawn, and both sides are evaluated on the same draw.

Groups: images that belong together, such as frames of a video, are drawn together (Davison and
Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). There are few groups, and
percentiles of few are too narrow: deviations are multiplied by sqrt(G/(G - 1)) for the variance of
G resampled groups, and by the ratio of Student's to the normal percentile (Hesterberg, as below).

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

The arms are not paired by seed number, unless that was planned: a seed shared by two architectures
draws different weights, and pairing halves the degrees of freedom. Where runs of equal seeds do
vary together, the unpaired interval is too wide, never too narrow. Paired, the differences of the
S pairs take the place of the two arms: t has S - 1 degrees of freedom, and s is theirs.

With one seed nothing is known about other seeds. With two, s rests on two differences, and that
both arms spread alike cannot be seen from them.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri, stdtr, stdtrit


def draw_images(
    images: int, resamples: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Draw images with replacement.

    Args:
        images: how many there are, and how many each resample draws.
        resamples: how often.
        seed: of the random generator.
        groups: the number of each image's group, from 0 on, (images,); as many whole groups are
            drawn as there are.

    Returns:
        How often each image was drawn in each resample, (images, resamples) of float32.
    """
    if groups is not None:
        return draw_images(int(groups.max()) + 1, resamples, seed)[groups]
    rng = np.random.default_rng(seed)
    weights = np.empty((resamples, images), dtype=np.float32)
    for resample in weights:
        resample[:] = np.bincount(rng.integers(images, size=images), minlength=images)
    return np.ascontiguousarray(weights.T)


def interval(
    points: np.ndarray,
    resampled: np.ndarray,
    confidence: float = 0.95,
    *,
    paired: bool = False,
    groups: int | None = None,
) -> tuple[float, float]:
    """Interval of a difference, over images and, with several seeds, over seeds.

    Args:
        points: the value on all images of each seed of baseline and candidate, (2, S).
        resampled: the value in each resample of the images, (2, S, R); NaN where a resample has
            no object.
        confidence: the share of such intervals that shall hold the true difference.
        paired: compare each seed of the baseline with the same seed of the candidate.
        groups: how many groups of images there are, where groups were drawn.

    Returns:
        Both ends; NaN if there is nothing to compare.
    """
    resampled = resampled[..., ~np.isnan(resampled).any(axis=(0, 1))]
    if not resampled.shape[-1]:
        return float('nan'), float('nan')
    difference = np.diff(resampled.mean(axis=1), axis=0)[0]
    if paired:
        points, resampled = np.diff(points, axis=0), np.diff(resampled, axis=0)
    arms, seeds = points.shape
    variance = _seed_variance(points)
    stretch = few_groups(groups, confidence) if groups else 1.0
    if variance and (total := difference.var(ddof=1)) > 0:
        mixed = sum(mixed_variance(side) for side in resampled) / seeds
        stretch *= np.sqrt(max(total - mixed, 0) / total)
    difference = difference.mean() + stretch * (difference - difference.mean())
    return mixture(difference, np.sqrt(variance * arms / seeds), arms * (seeds - 1), confidence)


def few_groups(groups: int, confidence: float) -> float:
    """By how much percentiles of resampled groups are too narrow.

    Args:
        groups: how many there are, at least 2.
        confidence: between the percentiles.
    """
    level = (1 + confidence) / 2
    return float(np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, level) / ndtri(level))


def mixed_variance(resampled: np.ndarray) -> float:
    """By how much more one run varies with the images than all runs of its arm vary together.

    Args:
        resampled: the value of each seed in each resample, (S, R), S > 1.
    """
    seeds = len(resampled)
    single, mean = resampled.var(axis=1, ddof=1).mean(), resampled.mean(axis=0).var(ddof=1)
    return float((single - mean) / (1 - 1 / seeds))


def mixture(
    difference: np.ndarray, scale: float, freedom: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentiles of equally likely differences, with Student's error of the seeds' means.

    Args:
        difference: candidate minus baseline, (R,).
        scale: standard error of the seeds' part; 0 where they have none.
        freedom: its degrees of freedom.
        confidence: between the percentiles.
    """
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    if not scale:
        low, high = np.quantile(difference, tails)
        return float(low), float(high)
    low, high = (_percentile(difference, scale, freedom, tail) for tail in tails)
    return low, high


def _percentile(difference: np.ndarray, scale: float, freedom: int, level: float) -> float:
    error = stdtrit(freedom, level)
    return brentq(
        lambda end: stdtr(freedom, (end - difference) / scale).mean() - level,
        difference.min() + (error - 1e-6) * scale,
        difference.max() + (error + 1e-6) * scale,
    )


def _seed_variance(points: np.ndarray) -> float:
    """Of ``points`` (A, S) within the arms, pooled; 0 if S is 1 or only rounding differs."""
    variance = points.var(axis=1, ddof=1).mean() if points.shape[1] > 1 else 0.0
    return float(variance) if variance > 1e-16 else 0.0
