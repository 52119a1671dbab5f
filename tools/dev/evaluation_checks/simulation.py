"""Simulated detectors with a known true difference, to check intervals and plans.

Nothing is drawn or matched: an object has a difficulty, which both sides share, and a detector
finds it with an IoU and a score that fall with it. Images are crowded or not, easy or not, so that
what happens in one image varies together, as in photographs. Each seed moves the detector's
quality a little.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm as normal

from se_det.evaluation.ground_truth import AREAS, IOU_THRESHOLDS
from se_det.evaluation.matching import Matches
from se_det.evaluation.metrics import METRICS, class_mean, resampled_metrics, summaries


@dataclass(frozen=True)
class Images:
    """Made-up images.

    Attributes:
        positives: objects to find, of no particular size, (A, K, I).
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
        np.add.at(positives, (0, category, image), 1)
        return cls(positives, image, category, np.sqrt(0.3) * shared + np.sqrt(0.7) * own)


def detect(rng: np.random.Generator, images: Images, quality: float | np.ndarray) -> Matches:
    """Draw the detections of one seed.

    Args:
        rng: the random generator.
        images: where to detect.
        quality: for each image, (I,), or one for all; the mean of a found object's IoU, before
            its difficulty and noise, is the logistic function of this.
    """
    n = len(images.image)
    _, categories, count = images.positives.shape
    quality = np.broadcast_to(quality, count)[images.image]
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
    sizes = [np.zeros_like(found)] * (len(AREAS) - 1)
    return Matches(
        image=image[order],
        score=score[order],
        rank=np.zeros(len(order), dtype=int),
        starts=np.searchsorted(category[order], np.arange(categories + 1)),
        true_positive=np.stack([found, *sizes]),
        ignored=np.zeros((len(AREAS), *found.shape), dtype=bool),
    )


@dataclass(frozen=True)
class Arms:
    """A baseline and a candidate.

    Attributes:
        gain: by how much the quality of the candidate is higher.
        spread: standard deviation of the quality between seeds.
        image_spread: standard deviation between images of the quality of one side, which all its
            seeds share.
        quality: of the baseline.
    """

    gain: float = 0.1
    spread: float = 0.0
    image_spread: float = 0.3
    quality: float = 1.0

    def true_difference(self, images: int = 20000, seeds: int = 8) -> float:
        """Difference of AP on very many images, mean over equally likely qualities."""
        rng = np.random.default_rng(0)
        sample = Images.draw(rng, images)
        likely = self.spread * normal.ppf((np.arange(seeds) + 0.5) / seeds)
        ap = [
            np.mean([ap_of(detect(rng, sample, quality + q), sample) for q in likely])
            for quality in self._qualities(rng, images)
        ]
        return float(ap[1] - ap[0])

    def detect(self, rng: np.random.Generator, images: Images, seeds: int) -> list[list[Matches]]:
        """Draw the detections of some seeds of the baseline and of the candidate."""
        count = images.positives.shape[-1]
        return [
            [detect(rng, images, quality + self.spread * rng.normal()) for _ in range(seeds)]
            for quality in self._qualities(rng, count)
        ]

    def _qualities(self, rng: np.random.Generator, images: int) -> list[np.ndarray]:
        """The quality of baseline and candidate in each image, (I,)."""
        return [
            self.quality + gain + self.image_spread * rng.normal(size=images)
            for gain in (0.0, self.gain)
        ]


def ap_of(matches: Matches, images: Images) -> float:
    """AP of one detector."""
    return float(summaries(matches, images.positives)[0][0])


def resampled_ap(matches: Matches, images: Images, weights: np.ndarray) -> np.ndarray:
    """AP of one detector in each resample, (B,)."""
    ap = list(METRICS).index('AP')
    return class_mean(resampled_metrics(matches, images.positives, weights))[ap]
