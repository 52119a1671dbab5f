"""pycocotools' matching, applied only where there is something to match.

pycocotools goes through all categories, areas and images, and through all detections, in Python:
half a minute at val2017's size. Here its ``iou`` and its ``evaluateImg`` see only images that have
objects of the category, and ``evaluateImg`` only detections that overlap one of them by 0.5 or
more. The others match nothing at any threshold and take no object from others: what it returns
for the rest is unchanged, and they are false positives, or ignored where their area is outside.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.cocoeval import COCOeval

from se_det.evaluation.ground_truth import AREAS, IOU_THRESHOLDS, MAX_DETECTIONS, GroundTruth
from se_det.evaluation.results import Results


@dataclass(frozen=True)
class Matches:
    """The detections that count, by category and falling score, with their matches.

    Equal scores are in pycocotools' order: by image, then as in the file.

    Attributes:
        image: index of the image, (D,).
        score: (D,).
        rank: the place of the detection in its image and category, from 0, (D,).
        starts: where each category starts in these arrays, and the last one ends, (K + 1,).
        true_positive: by area and IoU threshold, (A, T, D).
        ignored: neither true nor false positive, (A, T, D).
    """

    image: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    starts: np.ndarray
    true_positive: np.ndarray
    ignored: np.ndarray


def match(detections: Results, truth: GroundTruth, metric: str = 'bbox') -> Matches:
    """Match detections to objects as pycocotools does.

    Args:
        detections: of one detector.
        truth: the annotations of its images.
        metric: ``'bbox'`` or ``'segm'``: overlap of boxes or of masks.
    """
    kept, rank = _best_of_each_image(detections)
    image, category = detections.image[kept], detections.category[kept]
    area, score = detections.area[kept], detections.score[kept]
    outside = (area < AREAS[:, :1]) | (area > AREAS[:, 1:])  # (A, D)
    ignored = np.repeat(outside[:, None], len(IOU_THRESHOLDS), axis=1)
    true_positive = np.zeros_like(ignored)

    pycoco = COCOeval(iouType=metric)
    starts = np.flatnonzero(rank == 0)
    for start, end in pairwise([*starts.tolist(), len(kept)]):
        pair = int(image[start]), int(category[start])
        objects = truth.pairs.get(pair)
        if not objects:
            continue
        ious = _overlaps(detections, kept[start:end], objects, truth, metric)
        near = np.flatnonzero((ious >= IOU_THRESHOLDS[0]).any(1))
        if not len(near):
            continue
        pycoco._gts[pair] = objects
        pycoco._dts[pair] = [
            dict(id=d + 1, score=score[start + d], area=area[start + d]) for d in near.tolist()
        ]
        pycoco.ious[pair] = ious[near]
        for a, area_range in enumerate(AREAS):
            found = pycoco.evaluateImg(*pair, area_range, MAX_DETECTIONS[-1])
            ignored[a][:, start + near] = found['dtIgnore']
            true_positive[a][:, start + near] = (found['dtMatches'] != 0) & ~found['dtIgnore']

    order = np.lexsort((-score, category))
    return Matches(
        image=image[order],
        score=score[order],
        rank=rank[order],
        starts=np.searchsorted(category[order], np.arange(len(truth.categories) + 1)),
        true_positive=true_positive[:, :, order],
        ignored=ignored[:, :, order],
    )


def _best_of_each_image(detections: Results) -> tuple[np.ndarray, np.ndarray]:
    """The detections that count, by category, image and rank, and their ranks."""
    order = np.lexsort((-detections.score, detections.image, detections.category))
    category, image = detections.category[order], detections.image[order]
    place = np.arange(len(order))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (category[1:] != category[:-1]) | (image[1:] != image[:-1])
    rank = place - np.maximum.accumulate(np.where(first, place, 0))
    counts = rank < MAX_DETECTIONS[-1]
    return order[counts], rank[counts]


def _overlaps(
    detections: Results,
    kept: np.ndarray,
    objects: list[dict],
    truth: GroundTruth,
    metric: str,
) -> np.ndarray:
    """IoU of detections and objects of one image and category, (D, G)."""
    crowd = [int(item['iscrowd']) for item in objects]
    if metric == 'segm':
        masks = [truth.coco.annToRLE(item) for item in objects]
        return mask_api.iou([detections.shapes[d] for d in kept], masks, crowd)
    boxes = np.array([item['bbox'] for item in objects], dtype=float)
    return mask_api.iou(detections.shapes[kept], boxes, crowd)
