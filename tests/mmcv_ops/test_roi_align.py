"""RoIAlign."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv import ops
from torch.autograd import gradcheck

from .conftest import BOXES, SIZES


@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_as_recorded(golden, assert_results_and_gradients, aligned, sampling_ratio):
    case = golden(f'roi_align_{aligned}_{sampling_ratio}')
    layer = ops.RoIAlign(7, spatial_scale=1 / 8, sampling_ratio=sampling_ratio, aligned=aligned)
    result = layer(case.x.requires_grad_(), case.rois)
    assert_results_and_gradients(result, case.y, [case.x], [case.gx])


@given(
    st.lists(st.tuples(st.integers(0, 1), BOXES), min_size=1, max_size=3),
    SIZES,
    st.sampled_from([0.5, 1.0]),
    st.integers(0, 3),
    st.booleans(),
)
def test_roi_align_as_a_loop(samples_of_bins, boxes, size, scale, sampling_ratio, aligned):
    features = torch.rand(2, 2, 6, 7, dtype=torch.float64)
    rois = torch.tensor([[image, *box] for image, box in boxes], dtype=torch.float64)
    layer = ops.RoIAlign(size, scale, sampling_ratio, aligned=aligned)
    for (image, box), of_channels in zip(boxes, layer(features, rois), strict=True):
        for plane, result in zip(features[image], of_channels, strict=True):
            bins = samples_of_bins(plane, box, size, scale, sampling_ratio, aligned)
            expected = np.array([[np.mean(samples) for samples in row] for row in bins])
            np.testing.assert_allclose(result, expected, atol=1e-12)


def test_roi_align_of_no_rois(random):
    features = random(2, 3, 8, 8)
    rois = torch.zeros(0, 5, dtype=torch.float64)
    pooled = ops.RoIAlign(7)(features, rois)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_gradient_of_uneven_bins(random, aligned, sampling_ratio):
    rois = torch.tensor([[0, 1.3, 0.4, 9.1, 11.7], [1, 2.2, 3.1, 7.9, 6.3]], dtype=torch.float64)
    layer = ops.RoIAlign((2, 3), 0.5, sampling_ratio, aligned=aligned)
    assert gradcheck(lambda features: layer(features, rois), random(2, 2, 6, 7), fast_mode=True)


def test_the_maximum_needs_mmcvs_own_operators():
    with pytest.raises(NotImplementedError, match='pool_mode'):
        ops.RoIAlign(1, pool_mode='max')(torch.rand(1, 1, 3, 3), torch.tensor([[0, 0, 0, 2.0, 2]]))
