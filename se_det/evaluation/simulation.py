"""Detectors whose true difference is known, to check intervals and plans by.

Nothing is drawn or matched: an object has a difficulty, which both sides share, and a detector
finds it with an IoU and a score that fall with it. Images are crowded or not, easy or not, so that
what happens in one image varies together, as in photographs. Each seed moves the detector's
quality a little.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm as normal

from se_det.evaluation.accumulation import METRICS, class_mean, resampled_metrics, summaries
from se_det.evaluation.ground_truth import AREAS, IOU_THRESHOLDS
from se_det.evaluation.matching import Matches
from se_det.evaluation.resampling import draw_images, interval


@dataclass(frozen=True)
class Images:
    """Made-up images.

    Attributes:
        positives: objects to find, all of medium size, (A, K, I).
        image: of each object, (N,).
        category: (N,).
        difficulty: with mean 0 and variance 1, (N,).
    """

    positives: np.ndarray
    image: np.ndarray
    category: np.ndarray
    difficulty: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, images: int, categories: int = 2) -> 'Images':
        """Draw images, with 3 objects each on average."""
        count = rng.poisson(rng.gamma(2, 1.5, size=images))
        image = np.repeat(np.arange(images), count)
        category = rng.integers(categories, size=len(image))
        shared, own = rng.normal(size=images)[image], rng.normal(size=len(image))
        positives = np.zeros((len(AREAS), categories, images), dtype=np.int32)
        for area in (0, 2):
            np.add.at(positives, (area, category, image), 1)
        return cls(positives, image, category, np.sqrt(0.3) * shared + np.sqrt(0.7) * own)


def detect(rng: np.random.Generator, images: Images, quality: float) -> Matches:
    """Draw the detections of one seed.

    Args:
        rng: the random generator.
        images: where to detect.
        quality: the mean of a found object's IoU, before its difficulty and noise, is the
            logistic function of this.
    """
    n = len(images.image)
    _, categories, count = images.positives.shape
    logit = quality - 0.6 * images.difficulty + 0.5 * rng.normal(size=n)
    iou = 1 / (1 + np.exp(-logit))
    score = 1 / (1 + np.exp(-(2 * logit + rng.normal(size=n))))
    wrong = rng.poisson(2 * count)  # false positives
    image = np.concatenate([images.image, rng.integers(count, size=wrong)])
    category = np.concatenate([images.category, rng.integers(categories, size=wrong)])
    score = np.concatenate([score, rng.beta(1.5, 4, size=wrong)])
    iou = np.concatenate([iou, np.zeros(wrong)])

    order = np.lexsort((-score, category))
    found = iou[order] >= IOU_THRESHOLDS[:, None]
    nowhere, everywhere = np.zeros_like(found), np.ones_like(found)
    return Matches(
        image=image[order],
        score=score[order],
        rank=np.zeros(len(order), dtype=int),
        starts=np.searchsorted(category[order], np.arange(categories + 1)),
        true_positive=np.stack([found, nowhere, found, nowhere]),
        ignored=np.stack([nowhere, everywhere, nowhere, everywhere]),
    )


@dataclass(frozen=True)
class Arms:
    """A baseline and a candidate.

    Attributes:
        gain: by how much the quality of the candidate is higher.
        spread: standard deviation of the quality between seeds.
        quality: of the baseline.
    """

    gain: float = 0.1
    spread: float = 0.0
    quality: float = 1.0

    def true_difference(self, images: int = 20000, seeds: int = 8) -> float:
        """Difference of AP on very many images, mean over equally likely qualities."""
        rng = np.random.default_rng(0)
        sample = Images.draw(rng, images)
        likely = self.spread * normal.ppf((np.arange(seeds) + 0.5) / seeds)
        ap = [
            np.mean([ap_of(detect(rng, sample, self.quality + gain + q), sample) for q in likely])
            for gain in (0.0, self.gain)
        ]
        return float(ap[1] - ap[0])

    def detect(self, rng: np.random.Generator, images: Images, seeds: int) -> list[list[Matches]]:
        """Draw the detections of some seeds of the baseline and of the candidate."""
        return [
            [
                detect(rng, images, self.quality + gain + self.spread * rng.normal())
                for _ in range(seeds)
            ]
            for gain in (0.0, self.gain)
        ]


def ap_of(matches: Matches, images: Images) -> float:
    """AP of one detector."""
    return float(summaries(matches, images.positives)[0][0])


def resampled_ap(matches: Matches, images: Images, weights: np.ndarray) -> np.ndarray:
    """AP of one detector in each resample, (B,)."""
    ap = list(METRICS).index('AP')
    return class_mean(resampled_metrics(matches, images.positives, weights))[ap]


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
        points = np.array([[ap_of(m, sample) for m in arm] for arm in matches])
        drawn = np.array([[resampled_ap(m, sample, weights) for m in arm] for arm in matches])
        once = np.minimum(weights, 1)
        shortcut = np.array([[resampled_ap(m, sample, once) for m in arm] for arm in matches])
        difference = drawn[1].mean(0) - drawn[0].mean(0)
        alone = points[:, :1]
        intervals = {
            'ours': interval(difference, *points),
            'each image once': interval(shortcut[1].mean(0) - shortcut[0].mean(0), *points),
        }
        if seeds > 1:
            again = rng.integers(seeds, size=(2, seeds, resamples))
            both = np.take_along_axis(drawn, again, axis=1).mean(1)
            intervals['images only'] = interval(difference, *alone)
            intervals['seeds drawn with replacement'] = interval(both[1] - both[0], *alone)
        for kind, (low, high) in intervals.items():
            hits.setdefault(kind, []).append(low <= truth <= high)
    return {kind: float(np.mean(inside)) for kind, inside in hits.items()}
