"""Deformable RoI pooling, compared with the samples of RoIAlign."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv import ops
from torch.autograd import gradcheck

from .conftest import BOXES, SIZES

GAMMA = 0.25


@given(
    st.lists(st.tuples(st.integers(0, 1), BOXES), max_size=3),
    SIZES,
    st.sampled_from([0.5, 1.0]),
    st.integers(0, 3),
    st.booleans(),
)
def test_deform_roi_pool_as_a_loop(samples_of_bins, boxes, size, scale, sampling_ratio, moves):
    features = torch.rand(2, 2, 6, 7, dtype=torch.float64)
    rois = torch.tensor([[image, *box] for image, box in boxes], dtype=torch.float64)
    rois = rois.view(-1, 5)
    offset = torch.randn(len(rois), 2, *size, dtype=torch.float64) if moves else None
    result = ops.DeformRoIPool(size, scale, sampling_ratio, GAMMA)(features, rois, offset)
    for index, (image, box) in enumerate(boxes):
        moved = GAMMA * offset[index].numpy() if moves else None
        for plane, pooled in zip(features[image], result[index], strict=True):
            bins = samples_of_bins(plane, box, size, scale, sampling_ratio, True, moved)
            expected = np.array([[np.mean(samples) for samples in row] for row in bins])
            np.testing.assert_allclose(pooled, expected, atol=1e-12)


@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_deform_roi_pool_gradient(random, device, sampling_ratio):
    # Inside, across each border, and without area.
    rois = [[0, 1.3, 0.4, 9.1, 11.7], [1, -5.1, -4.3, 20.2, 17.9], [1, 3, 3, 3, 3]]
    rois = torch.tensor(rois, dtype=torch.float64, device=device)
    layer = ops.DeformRoIPool((2, 3), 0.5, sampling_ratio, GAMMA)
    leaves = [2 * random(2, 2, 6, 7) - 1, 2 * random(3, 2, 2, 3) - 1]
    features, offset = (leaf.detach().to(device).requires_grad_() for leaf in leaves)
    # A GPU sums in an order of its own each time.
    check = partial(gradcheck, fast_mode=True, nondet_tol=0 if device == 'cpu' else 1e-12)
    assert check(lambda *leaves: layer(leaves[0], rois, leaves[1]), (features, offset))
    assert check(lambda features: layer(features, rois), features)


def test_deform_roi_pool_treats_nan_offsets_as_outside(random):
    features, rois = random(1, 2, 6, 7), torch.tensor([[0, 1, 1, 5, 5]], dtype=torch.float64)
    offset = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    offset[0, 0, 0] = torch.tensor([torch.nan, torch.inf])
    pooled = ops.DeformRoIPool(2)(features, rois, offset.requires_grad_())
    assert (pooled == 0).tolist() == [[[[True, True], [False, False]]] * 2]
    pooled.sum().backward()
    assert features.grad.isfinite().all() and offset.grad.isfinite().all()
