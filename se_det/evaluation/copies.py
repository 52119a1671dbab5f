"""Copies of an image in a resample, in the order that equal scores need.

pycocotools sorts detections with equal scores by image. If an image was drawn twice, two of its
detections are listed as first, second, first, second. One weight for each detection would mean
first, first, second, second, which is another order. Each copy gets a place in the list
and a row of weights of its own: 1 in the resamples that drew the image often enough, else 0.
"""

import numpy as np

from se_det.evaluation.matching import Matches


def lay_out_copies(
    matches: Matches, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay out the list of detections, with places for copies that take turns.

    Args:
        matches: of one detector.
        weights: how many times each image stands in each resample, (I, B).

    Returns:
        Indices into ``matches`` in the order of the list, (D',); the row of weights of each place,
        (D',); the rows: ``weights``, and those of copies, (I', B).
    """
    if not len(matches.score):
        return np.arange(0), matches.image, weights
    same = matches.score[1:] == matches.score[:-1]
    same &= matches.image[1:] == matches.image[:-1]
    same[matches.starts[(matches.starts > 0) & (matches.starts < len(matches.score))] - 1] = False
    group = np.concatenate([[0], np.cumsum(~same)])
    size = np.bincount(group)
    finds = np.bincount(group, matches.true_positive.any((0, 1)))
    in_turns = ((size > 1) & (finds > 0))[group]
    detection = np.arange(len(group))
    if not in_turns.any():
        return detection, matches.image, weights

    copies = int(weights.max())
    images, place = np.unique(matches.image[in_turns], return_inverse=True)
    numbers = np.arange(copies)
    extra = (weights[images][:, None] > numbers[:, None]).astype(weights.dtype)
    rows = np.concatenate([weights, extra.reshape(-1, weights.shape[1])])
    repeated = np.repeat(detection[in_turns], copies)
    copy = np.tile(numbers, in_turns.sum())
    repeated_row = len(weights) + np.repeat(place * copies, copies) + copy
    detection = np.concatenate([detection[~in_turns], repeated])
    copy = np.concatenate([np.zeros((~in_turns).sum(), int), copy])
    row = np.concatenate([matches.image[~in_turns], repeated_row])
    order = np.lexsort((detection, copy, group[detection]))
    return detection[order], row[order], rows
