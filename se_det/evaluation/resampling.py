"""Bootstrap of images, and what seeds add: from resampled metrics to an interval.

Images: the paired percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, chapters 8 and 13). Each resample draws as many images as there are, with replacement; an
image counts as often as it was drawn, and both sides are evaluated on the same draw.

Seeds: a checkpoint is one draw from all that its config could have trained. Resampling three or
five seeds, as the two-way bootstrap does (Owen, The pigeonhole bootstrap, Annals of Applied
Statistics 1, 2007), gives intervals that are too narrow: the variance of S resampled seeds is
(S - 1)/S of theirs, and their percentiles know no small-sample factor (Hesterberg, What teachers
should know about the bootstrap, The American Statistician 69, 2015). So the seeds' part is
Student's: to each resample's difference is added an error of the difference of two means of S
seeds, Student's t with 2(S - 1) degrees of freedom times s sqrt(2/S), where s is the standard
deviation within the two arms, pooled. With no spread between images, that is the two-sample
t interval. The spread between seeds holds a part of what images add, which is then counted twice:
intervals are a little too wide rather than too narrow.

The arms are not paired by seed number: a seed shared by two architectures draws different
weights, and pairing would halve the degrees of freedom. Where runs of equal seeds do vary
together, the interval is too wide, never too narrow.

With one seed nothing is known about other seeds. With two, s rests on two differences, and that
both arms spread alike cannot be seen from them.
"""

import numpy as np
from scipy.stats import t as student

ERRORS = 201  # equally likely errors of Student's distribution, added to each resample


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
    resampled: np.ndarray,
    baseline: np.ndarray,
    candidate: np.ndarray,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a difference.

    Args:
        resampled: candidate minus baseline, means over seeds, in each resample of images, (R,);
            NaN where a resample has no object.
        baseline: its value for each seed on all images, (S,).
        candidate: likewise.
        confidence: the share of such intervals that shall hold the true difference.

    Returns:
        Both ends; NaN if there is nothing to compare.
    """
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return float('nan'), float('nan')
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    seeds = len(baseline)
    if seeds > 1:
        pooled = (np.var(baseline, ddof=1) + np.var(candidate, ddof=1)) / 2
        likely = student.ppf((np.arange(ERRORS) + 0.5) / ERRORS, df=2 * (seeds - 1))
        errors = likely * np.sqrt(pooled * 2 / seeds)
        resampled = (resampled[:, None] + errors).ravel()
    low, high = np.quantile(resampled, tails)
    return float(low), float(high)
