"""Masks are pasted as mmdet's FCNMaskHead does."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

from se_det.inference.paste_masks import paste_masks

corner = st.floats(0, 40, width=32)


@given(st.lists(st.tuples(corner, corner, corner, corner), min_size=1, max_size=4), st.data())
def test_masks_are_pasted_as_mmdet_does(corners, data):
    boxes = np.float32([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + np.float32(0.5))
    seed = data.draw(st.integers(0, 1000))
    masks = np.random.default_rng(seed).random((len(boxes), 7, 7), np.float32)
    shape = data.draw(st.tuples(st.integers(1, 48), st.integers(1, 48)))
    expected, _ = _do_paste_mask(
        torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), *shape, skip_empty=False
    )
    clear = np.abs(expected.numpy() - 0.5) > 1e-3  # rounding decides about the others
    found = paste_masks(masks, boxes, shape, 0.5)
    assert found.shape == (len(boxes), *shape)
    assert np.array_equal(found[clear], expected.numpy()[clear] >= 0.5)


def test_no_masks():
    assert paste_masks(np.zeros((0, 7, 7)), np.zeros((0, 4)), (3, 4), 0.5).shape == (0, 3, 4)
