"""Fixtures for the tests of the operators."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from se_det import mmcv_ops

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')

# RoIs of any size and position, some outside the map; sixteenths of a pixel keep the arithmetic
# exact. Rows and columns of bins.
PLACES = st.integers(-32, 160).map(lambda sixteenths: sixteenths / 16)
SPANS = st.tuples(PLACES, st.integers(4, 128)).map(lambda span: (span[0], span[0] + span[1] / 16))
BOXES = st.tuples(SPANS, SPANS).map(lambda xy: [xy[0][0], xy[1][0], xy[0][1], xy[1][1]])
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3))


@pytest.fixture(autouse=True, scope='session')
def _stand_in():
    if sys.modules['mmcv._ext'] is not mmcv_ops:
        pytest.skip('not run: mmcv has its own compiled operators here')


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=NO_CUDA)])
def device(request):
    return request.param


@pytest.fixture
def random():
    """Make float64 leaves with fixed random values, uniform from 0 to 1."""
    draw = torch.Generator().manual_seed(0)
    return lambda *shape: torch.rand(shape, generator=draw, dtype=torch.float64).requires_grad_()


@pytest.fixture
def golden(shared, device):
    """Read the arrays of a case, recorded from mmcv 2.1.0's compiled CPU operators."""

    def load(case):
        with np.load(shared / 'mmcv_ops_golden.npz') as file:
            names = [name for name in file.files if name.startswith(f'{case}/')]
            arrays = {name.split('/')[1]: torch.from_numpy(file[name]) for name in names}
        return SimpleNamespace(**{name: array.to(device) for name, array in arrays.items()})

    return load


@pytest.fixture
def assert_close():
    """Assert equality within 1e-5 of the largest value: float32 sums in another order."""

    def check(actual, recorded):
        tolerance = 1e-5 * recorded.abs().max().item()
        torch.testing.assert_close(actual, recorded, rtol=1e-5, atol=tolerance)

    return check


@pytest.fixture
def assert_results_and_gradients(assert_close):
    """Assert a recorded result and the recorded gradients of the sum of its squares."""

    def check(result, recorded, inputs, recorded_gradients):
        assert_close(result, recorded)
        gradients = torch.autograd.grad(result.square().sum(), inputs)
        for actual, expected in zip(gradients, recorded_gradients, strict=True):
            assert_close(actual, expected)

    return check


@pytest.fixture(scope='session')
def samples_of_bins():
    """The samples of RoIAlign in each bin of a RoI, from plain loops: one list per bin."""

    def interpolate(plane, y, x):
        height, width = plane.shape
        if not (-1 <= y <= height and -1 <= x <= width):
            return 0.0
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        i, j = int(y), int(x)
        below, right = min(i + 1, height - 1), min(j + 1, width - 1)
        upper = plane[i, j] * (j + 1 - x) + plane[i, right] * (x - j)
        lower = plane[below, j] * (j + 1 - x) + plane[below, right] * (x - j)
        return upper * (i + 1 - y) + lower * (y - i)

    def samples(plane, box, size, scale, sampling_ratio, aligned, moves=None):
        plane = np.asarray(plane)
        x1, y1, x2, y2 = np.array(box) * scale - (0.5 if aligned else 0)
        width, height = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        pitch_y, pitch_x = height / size[0], width / size[1]
        down = sampling_ratio or int(np.ceil(pitch_y))
        across = sampling_ratio or int(np.ceil(pitch_x))
        rows = []
        for p in range(size[0]):
            rows.append([])
            for q in range(size[1]):
                move_x, move_y = (0, 0) if moves is None else moves[:, p, q]
                top = y1 + p * pitch_y + move_y * height
                left = x1 + q * pitch_x + move_x * width
                rows[-1].append(
                    [
                        interpolate(
                            plane,
                            top + (i + 0.5) * pitch_y / down,
                            left + (j + 0.5) * pitch_x / across,
                        )
                        for i in range(down)
                        for j in range(across)
                    ]
                )
        return rows

    return samples
