"""RoI pooling."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv import ops
from torch.autograd import gradcheck

# Some outside the map, some without area (x2 = x1 - 1, since a RoI includes its last pixel).
PLACES = st.integers(-16, 80).map(lambda eighths: eighths / 8)
SPANS = st.tuples(PLACES, st.integers(-16, 64)).map(lambda span: (span[0], span[0] + span[1] / 8))
BOXES = st.tuples(SPANS, SPANS).map(lambda xy: [xy[0][0], xy[1][0], xy[0][1], xy[1][1]])


def pool_bins(plane, box, size, scale):
    x1, y1, x2, y2 = np.array([box[0], box[1], box[2] + 1, box[3] + 1]) * scale
    result = np.zeros(size)
    for p, q in np.ndindex(*size) if x2 > x1 and y2 > y1 else ():
        top, bottom = (y1 + i * (y2 - y1) / size[0] for i in (p, p + 1))
        left, right = (x1 + i * (x2 - x1) / size[1] for i in (q, q + 1))
        rows = slice(max(int(np.floor(top)), 0), max(int(np.ceil(bottom)), 0))
        columns = slice(max(int(np.floor(left)), 0), max(int(np.ceil(right)), 0))
        result[p, q] = plane[rows, columns].max() if plane[rows, columns].size else 0
    return result


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 1), BOXES), max_size=3),
    st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4])),
    st.sampled_from([0.25, 1.0]),
)
def test_roi_pool_as_a_loop(boxes, size, scale):
    features = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    rois = torch.tensor([[image, *box] for image, box in boxes], dtype=torch.float64)
    result = ops.RoIPool(size, scale)(features, rois.view(-1, 5))
    assert result.shape == (len(boxes), 2, *size)
    for (image, box), of_channels in zip(boxes, result, strict=True):
        for plane, pooled in zip(features[image].numpy(), of_channels, strict=True):
            np.testing.assert_array_equal(pooled, pool_bins(plane, box, size, scale))


def test_roi_pool_gradient(random, device):
    far_outside = [0, 40, 40, 50, 50]
    no_area = [1, 5, 5, 3, 3]
    rois = [[0, 1.3, 0.4, 9.1, 11.7], [1, 2.2, 3.1, 7.9, 6.3], far_outside, no_area]
    rois = torch.tensor(rois, dtype=torch.float64, device=device)
    layer = ops.RoIPool((2, 3), 0.5)
    features = random(2, 2, 6, 7).detach().to(device).requires_grad_()
    assert gradcheck(lambda features: layer(features, rois), features)
