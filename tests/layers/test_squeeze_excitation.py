"""The SE block computes the paper's equations 2 to 4 and keeps the layout of public weights."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from se_det.layers import Padding, SqueezeExcitation


def equations(x, w1, b1, w2, b2):
    """Equations 2, 3 and 4 of arXiv 1709.01507, on NumPy arrays."""
    z = x.mean((2, 3))
    s = 1 / (1 + np.exp(-(np.maximum(z @ w1.T + b1, 0) @ w2.T + b2)))
    return x * s[:, :, None, None]


@given(
    batch=st.integers(1, 3),
    hidden=st.integers(1, 4),
    reduction=st.integers(1, 6),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_forward_is_the_papers_equations(batch, hidden, reduction, height, width, seed):
    torch.manual_seed(seed)
    channels = hidden * reduction
    se = SqueezeExcitation(channels, reduction).double()
    x = 3 * torch.randn(batch, channels, height, width, dtype=torch.float64)
    w1, b1, w2, b2 = (parameter.detach().numpy() for parameter in se.parameters())
    expected = equations(x.numpy(), w1[..., 0, 0], b1, w2[..., 0, 0], b2)
    np.testing.assert_allclose(se(x).detach().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_forward_leaves_its_input_as_it_was():
    x = torch.randn(2, 8, 5, 5)
    before = x.clone()
    SqueezeExcitation(8, reduction=2)(x)
    assert torch.equal(x, before)


def test_gradients_by_input_and_parameters():
    torch.manual_seed(0)
    se = SqueezeExcitation(8, reduction=2).double()
    names = [name for name, _ in se.named_parameters()]
    x = torch.randn(2, 8, 3, 4, dtype=torch.float64, requires_grad=True)

    def forward(x, *parameters):
        return functional_call(se, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(forward, (x, *se.parameters()))


def test_state_dict_is_that_of_public_weights():
    shapes = {
        name: tuple(value.shape) for name, value in SqueezeExcitation(64).state_dict().items()
    }
    assert shapes == {
        'fc1.weight': (4, 64, 1, 1),
        'fc1.bias': (4,),
        'fc2.weight': (64, 4, 1, 1),
        'fc2.bias': (64,),
    }


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize(
    ('dtype', 'largest'),
    [  # the largest of bfloat16 is that of float32, in which a sum of such values overflows
        *((torch.float16, largest) for largest in (1, 100, 1e4, torch.finfo(torch.float16).max)),
        *((torch.bfloat16, largest) for largest in (1, 100, 1e4, 1e30)),
    ],
)
def test_gates_in_half_precision_are_those_of_float32(dtype, largest, autocast):
    torch.manual_seed(0)
    se = SqueezeExcitation(64, reduction=4)
    x = (largest * (1.5 * torch.rand(2, 64, 40, 50) - 0.5).clamp(max=1)).to(dtype)
    if not autocast:
        se.to(dtype)
    exact = copy.deepcopy(se).float().gate(x.float())
    padding = Padding(torch.tensor([[40, 50], [40, 50]]), x)
    with torch.autocast('cpu', dtype, enabled=autocast):
        for gate in (se.gate(x), se.gate(x, padding)):
            assert (gate - exact).abs().max() < 1e-3
        assert se(x).dtype == dtype
        assert se(x).isfinite().all()


@pytest.mark.parametrize(
    ('channels', 'reduction', 'hidden'), [(24, 16, 2), (16, 24, 1), (72, 16, 5), (64, 16, 4)]
)
def test_the_hidden_layer_is_rounded_up(channels, reduction, hidden):
    assert SqueezeExcitation(channels, reduction).fc1.out_channels == hidden
