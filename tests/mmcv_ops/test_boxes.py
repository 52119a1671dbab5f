"""Suppression of boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv import ops

SUPPRESSIONS = {
    'nms_off0': lambda case: ops.nms(case.boxes, case.scores, 0.5),
    'nms_off1': lambda case: ops.nms(case.boxes, case.scores, 0.5, offset=1),
    'nms_thr': lambda case: ops.nms(case.boxes, case.scores, 0.5, score_threshold=0.3, max_num=20),
    'soft_naive': lambda case: ops.soft_nms(case.boxes, case.scores, method='naive'),
    'soft_linear': lambda case: ops.soft_nms(case.boxes, case.scores, method='linear'),
    'soft_gaussian': lambda case: ops.soft_nms(case.boxes, case.scores, method='gaussian'),
}


@pytest.mark.parametrize('name', SUPPRESSIONS)
def test_suppression_as_recorded(golden, assert_close, name):
    case = golden(name)
    dets, keep = SUPPRESSIONS[name](case)
    assert keep.tolist() == case.keep.tolist()
    assert_close(dets, case.dets)


@pytest.mark.parametrize('split_thr', [10000, 100], ids=['at once', 'class by class'])
def test_batched_nms_as_recorded(golden, assert_close, split_thr):
    case = golden('batched')
    nms_cfg = {'type': 'nms', 'iou_threshold': 0.4, 'split_thr': split_thr}
    dets, keep = ops.batched_nms(case.boxes, case.scores, case.idx, nms_cfg)
    assert keep.tolist() == case.keep.tolist()
    assert_close(dets, case.dets)


def test_nms_match_as_recorded(golden):
    case = golden('nms_match')
    groups = ops.nms_match(torch.cat([case.boxes, case.scores[:, None]], 1), 0.5)
    assert len(groups) == case.n
    assert [group[0].item() for group in groups] == case.first.tolist()
    assert [len(group) for group in groups] == case.sizes.tolist()


# Compared with plain loops, on small integer boxes: many have no area or are at the threshold.

SPANS = st.tuples(st.integers(0, 10), st.integers(0, 10)).map(sorted)
BOXES = st.tuples(SPANS, SPANS).map(lambda xy: [xy[0][0], xy[1][0], xy[0][1], xy[1][1]])
SCORES = st.floats(0.125, 1, width=32)
SCORED_BOXES = st.lists(st.tuples(BOXES, SCORES), max_size=12, unique_by=lambda pair: pair[1])
THRESHOLDS = st.sampled_from([0.1, 0.3, 0.5, 0.7])
OFFSETS = st.sampled_from([0, 1])


def as_arrays(scored_boxes):
    boxes, scores = zip(*scored_boxes, strict=True) if scored_boxes else ((), ())
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)


def overlap(first, second, offset):
    """IoU of two boxes in float32; NaN for 0 / 0."""
    left, top = np.maximum(first[:2], second[:2])
    right, bottom = np.minimum(first[2:], second[2:])
    both = max(right - left + offset, 0) * max(bottom - top + offset, 0)
    areas = [np.prod(box[2:] - box[:2] + offset) for box in (first, second)]
    with np.errstate(invalid='ignore'):
        return np.float32(both) / np.float32(sum(areas) - both)


@given(SCORED_BOXES, THRESHOLDS, OFFSETS)
def test_nms_as_a_loop(scored_boxes, threshold, offset):
    boxes, scores = as_arrays(scored_boxes)
    expected = []
    for box in np.argsort(-scores):
        if not any(overlap(boxes[i], boxes[box], offset) > np.float32(threshold) for i in expected):
            expected.append(box)
    dets, keep = ops.nms(boxes, scores, threshold, offset)
    assert keep.tolist() == expected
    np.testing.assert_array_equal(dets, np.c_[boxes, scores][expected])


@given(SCORED_BOXES, THRESHOLDS)
def test_nms_match_as_a_loop(scored_boxes, threshold):
    boxes, scores = as_arrays(scored_boxes)
    left, expected = list(np.argsort(-scores)), []
    while left:
        best = left.pop(0)
        joins = [i for i in left if overlap(boxes[best], boxes[i], 0) >= np.float32(threshold)]
        left = [i for i in left if i not in joins]
        expected.append([best, *joins])
    groups = ops.nms_match(np.c_[boxes, scores], threshold)
    assert [group.tolist() for group in groups] == expected


@given(SCORED_BOXES, THRESHOLDS, OFFSETS, st.sampled_from(['naive', 'linear', 'gaussian']))
def test_soft_nms_as_a_loop(scored_boxes, threshold, offset, method):
    boxes, scores = as_arrays(scored_boxes)
    sigma, min_score = 0.4, 0.1
    left, expected, new_scores = list(range(len(boxes))), [], scores.copy()
    while left:
        best = max(left, key=new_scores.__getitem__)
        left.remove(best)
        expected.append(best)
        for i in left:
            iou = overlap(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                new_scores[i] *= np.exp(-(np.nan_to_num(iou) ** 2) / sigma)
            elif iou >= np.float32(threshold):
                new_scores[i] *= 1 - iou if method == 'linear' else 0
        left = [i for i in left if new_scores[i] >= min_score]
    dets, keep = ops.soft_nms(boxes, scores, threshold, sigma, min_score, method, offset)
    assert keep.tolist() == expected
    np.testing.assert_allclose(dets, np.c_[boxes, new_scores][expected], rtol=1e-6)
    assert scores.tolist() == [score for _, score in scored_boxes]  # the caller's are not changed


def test_nms_drops_low_scores_and_keeps_at_most_max_num():
    boxes = torch.tensor([[x, 0, x + 1, 1] for x in (0.0, 2, 4, 6)])
    scores = torch.tensor([0.2, 0.5, 0.9, 0.7])
    assert ops.nms(boxes, scores, 0.5, score_threshold=0.3)[1].tolist() == [2, 3, 1]
    assert ops.nms(boxes, scores, 0.5, score_threshold=0.3, max_num=2)[1].tolist() == [2, 3]


def test_batched_nms_across_classes_takes_half_precision_scores():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 0, 29, 9]])
    scores = torch.tensor([0.5, 0.75, 0.25], dtype=torch.float16)
    nms_cfg = {'type': 'nms', 'iou_threshold': 0.5, 'class_agnostic': True}
    assert ops.batched_nms(boxes, scores, torch.arange(3), nms_cfg)[1].tolist() == [1, 2]
