"""The Triton kernels; without a GPU, in Triton's interpreter (see tests/conftest.py)."""

import importlib

import pytest
import torch

from se_det.layers.kernels import _kernels_on, kernels_for

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('shape', [(2, 20, 13, 170), (1, 130, 3, 5), (3, 1, 1, 1)], ids=str)
def test_kernels_against_their_formulas(kernels, shape, dtype, channels_last):
    torch.manual_seed(0)
    x, identity, gradient = (torch.randn(shape, device=DEVICE).to(dtype) for _ in range(3))
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    scale = torch.rand(shape[:2], device=DEVICE)
    exact_x, exact_identity, exact_gradient = (
        x.clone().double(),
        identity.double(),
        gradient.double(),
    )

    y = kernels.scale_add_relu_(x, scale, identity)
    expected = exact_x * scale[:, :, None, None] + exact_identity
    tolerance = 4 * torch.finfo(dtype).eps if dtype.itemsize < 8 else 1e-6
    assert y is x
    torch.testing.assert_close(y.double(), expected.relu(), rtol=tolerance, atol=tolerance)

    expected = exact_gradient * (y > 0)
    for factor in (None, identity):
        found, sums, products = kernels.relu_backward(gradient, y, factor)
        assert found.dtype == dtype and found.stride() == y.stride()
        assert torch.equal(found.double(), expected)
        torch.testing.assert_close(sums.double(), expected.sum((2, 3)), rtol=1e-4, atol=1e-3)
        assert (products is None) == (factor is None)
    products_expected = (expected * exact_identity).sum((2, 3))
    torch.testing.assert_close(products.double(), products_expected, rtol=1e-4, atol=1e-3)


def test_not_a_number_stays(kernels):
    x = torch.tensor([-1.0, 2.0, float('nan'), float('inf')], device=DEVICE).view(1, 1, 2, 2)
    kernels.scale_add_relu_(x, torch.ones(1, 1, device=DEVICE), torch.zeros_like(x))
    torch.testing.assert_close(
        x.flatten(), x.new_tensor([0, 2, torch.nan, torch.inf]), equal_nan=True
    )


def test_without_a_gpu_or_triton_there_are_none(monkeypatch):
    assert kernels_for(torch.zeros(1)) is None

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, 'import_module', missing)
    with pytest.warns(UserWarning, match='Triton kernels do not run on cuda'):
        assert _kernels_on.__wrapped__(torch.device('cuda')) is None
