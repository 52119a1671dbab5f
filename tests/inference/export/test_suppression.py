"""Suppression with masks keeps the boxes that mmcv's keeps."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.ops import batched_nms

from se_det.inference.export.suppression import best, nms_in_groups


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 4), st.floats(0.1, 0.9))
def test_groups_are_suppressed_as_mmcv_does(seed, boxes, groups, threshold):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(2, boxes, 2, generator=generator) * 50
    extents = torch.rand(2, boxes, 2, generator=generator) * 50 + 1
    values = torch.cat([corners, corners + extents], 2)
    scores = torch.rand(2, boxes, generator=generator) + 1e-3
    members = torch.randint(groups, (2, boxes), generator=generator)
    keep = nms_in_groups(values, scores, members, groups, threshold, count=boxes)
    for image in range(2):
        _, expected = batched_nms(
            values[image], scores[image], members[image], dict(type='nms', iou_threshold=threshold)
        )
        assert keep[image].nonzero()[:, 0].tolist() == sorted(expected.tolist())


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9), st.integers(1, 12))
def test_best_fills_up_with_scores_of_0(scores, count):
    found, index = best(torch.tensor([scores]), count)
    expected = (sorted(scores, reverse=True) + [0.0] * count)[:count]
    assert found[0].tolist() == expected
    assert all(
        value == 0 or scores[i] == value
        for value, i in zip(*(found[0].tolist(), index[0].tolist()), strict=True)
    )
