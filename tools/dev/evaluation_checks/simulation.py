"""Simulated detectors with a known true difference, to check intervals and plans.

Nothing is drawn or matched: an object has a difficulty, which both sides share, and a detector
finds it with an IoU and a score that fall with it. Images are crowded or not, easy or not, so that
what happens in one image varies together, as in photographs; images may come in groups. Each seed
moves the detector's quality a little.

AP is the mean area under interpolated precision at two IoU thresholds, of scores in whole per cent:
so that AP of all resamples follows from one matrix product.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm as normal

THRESHOLDS = np.array([0.5, 0.75])  # of IoU, (T,)
SCORES = 100


@dataclass(frozen=True)
class Images:
    """Made-up images.

    Attributes:
        objects: to find in each, (I,).
        image: of each object, (N,).
        difficulty: with mean 0 and variance 1, (N,).
    """

    objects: np.ndarray
    image: np.ndarray
    difficulty: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, images: int) -> 'Images':
        """Draw images, with 3 objects each on average."""
        count = rng.poisson(rng.gamma(2, 1.5, size=images))
        image = np.repeat(np.arange(images), count)
        shared, own = rng.normal(size=images)[image], rng.normal(size=len(image))
        return cls(count, image, np.sqrt(0.3) * shared + np.sqrt(0.7) * own)


def detect(rng: np.random.Generator, images: Images, quality: np.ndarray) -> np.ndarray:
    """Draw the detections of one seed.

    Args:
        rng: the random generator.
        images: where to detect.
        quality: for each image, (I,); the mean of a found object's IoU, before its difficulty and
            noise, is the logistic function of this.

    Returns:
        How many detections an image has with each score, from the highest, and how many of them are
        right at each threshold, (I, 1 + T, SCORES) of float32.
    """
    n, count = len(images.image), len(images.objects)
    logit = quality[images.image] - 0.6 * images.difficulty + 0.5 * rng.normal(size=n)
    iou = 1 / (1 + np.exp(-logit))
    score = 1 / (1 + np.exp(-(2 * logit + rng.normal(size=n))))
    wrong = rng.poisson(2 * count)  # false positives
    image = np.concatenate([images.image, rng.integers(count, size=wrong)])
    score = np.concatenate([score, rng.beta(1.5, 4, size=wrong)])
    iou = np.concatenate([iou, np.zeros(wrong)])
    rank = SCORES - 1 - (score * SCORES).astype(int).clip(max=SCORES - 1)
    found = np.zeros((count, 1 + len(THRESHOLDS), SCORES), np.float32)
    for kind, least in enumerate([-1.0, *THRESHOLDS]):
        np.add.at(found, (image[iou >= least], kind, rank[iou >= least]), 1)
    return found


def resampled_ap(found: np.ndarray, images: Images, weights: np.ndarray) -> np.ndarray:
    """AP of one detector in each resample, (B,).

    Args:
        found: its detections, of `detect`.
        images: where they are.
        weights: how often each image is in each resample, (I, B) of float32.
    """
    counts = (weights.T @ found.reshape(len(found), -1)).reshape(-1, *found.shape[1:])
    counted, true = np.split(counts.cumsum(axis=2), [1], axis=1)
    precision = true / np.maximum(counted, 1)
    precision = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    objects = np.maximum(images.objects @ weights, 1)
    return (precision * counts[:, 1:]).sum(axis=2).mean(axis=1, dtype=float) / objects


def ap_of(found: np.ndarray, images: Images) -> float:
    """AP of one detector."""
    return float(resampled_ap(found, images, np.ones((len(found), 1), np.float32))[0])


@dataclass(frozen=True)
class Arms:
    """A baseline and a candidate.

    Attributes:
        gain: by how much the quality of the candidate is higher.
        spreads: standard deviation of the quality between seeds, of baseline and candidate.
        image_spread: standard deviation between images of the quality of one side, which all its
            seeds share.
        quality: of the baseline.
        group: images that have the same quality.
    """

    gain: float = 0.1
    spreads: tuple[float, float] = (0.0, 0.0)
    image_spread: float = 0.3
    quality: float = 1.0
    group: int = 1

    @cached_property
    def true_difference(self) -> float:
        """Difference of AP on very many images, mean over equally likely qualities of seeds."""
        images, levels = 20_000, normal.ppf((np.arange(8) + 0.5) / 8)
        sample = Images.draw(np.random.default_rng(0), images)
        of_images = self.quality + self.image_spread * np.random.default_rng(1).normal(size=images)
        baseline, candidate = (
            np.mean(
                [
                    ap_of(detect(np.random.default_rng(2), sample, of_images + gain + q), sample)
                    for q in spread * levels
                ]
            )
            for gain, spread in zip((0.0, self.gain), self.spreads, strict=True)
        )
        return float(candidate - baseline)

    def detect(
        self, rng: np.random.Generator, images: Images, seeds: int
    ) -> list[list[np.ndarray]]:
        """Draw the detections of some seeds of the baseline and of the candidate."""
        group_of = np.arange(len(images.objects)) // self.group
        arms = []
        for gain, spread in zip((0.0, self.gain), self.spreads, strict=True):
            of_groups = self.image_spread * rng.normal(size=group_of[-1] + 1)
            quality = self.quality + gain + of_groups[group_of]
            arms.append(
                [detect(rng, images, quality + spread * rng.normal()) for _ in range(seeds)]
            )
        return arms
