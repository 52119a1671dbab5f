"""The attentions in SE's slot against their formulas in NumPy and against timm's layers."""

import builtins

import numpy as np
import pytest
import timm.layers
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from se_det.errors import UsageError
from se_det.layers import ATTENTIONS, Padding, SqueezeExcitation, gated_tail

GATES = {
    'sigmoid': lambda v: 1 / (1 + np.exp(-v)),
    'tanh': np.tanh,
    'relu': lambda v: np.maximum(v, 0),
}
SQUEEZES = {
    'mean': lambda x: x.mean((2, 3), keepdims=True),
    'max': lambda x: x.max((2, 3), keepdims=True),
    None: lambda x: x,
}


@given(
    squeeze=st.sampled_from(list(SQUEEZES)),
    gate=st.sampled_from(list(GATES)),
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    seed=st.integers(0, 999),
)
def test_squeeze_and_gate_are_their_formulas(squeeze, gate, batch, size, seed):
    torch.manual_seed(seed)
    se = SqueezeExcitation(12, 4, squeeze, gate).double()
    x = torch.randn(batch, 12, *size, dtype=torch.float64)
    w1, b1, w2, b2 = (parameter.detach().numpy() for parameter in se.parameters())
    z = SQUEEZES[squeeze](x.numpy())
    hidden = np.maximum(np.einsum('oc,nchw->nohw', w1[..., 0, 0], z) + b1[:, None, None], 0)
    logits = np.einsum('oc,nchw->nohw', w2[..., 0, 0], hidden) + b2[:, None, None]
    expected = x.numpy() * GATES[gate](logits)
    np.testing.assert_allclose(se(x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('squeeze', ['mean', 'max'])
def test_padding_is_left_out(squeeze):
    se = SqueezeExcitation(8, 2, squeeze).double()
    x = torch.randn(2, 8, 6, 7, dtype=torch.float64)
    padded = F.pad(x, (0, 3, 0, 2), value=9)
    padding = Padding(torch.tensor([[6, 7], [6, 7]]), padded)
    torch.testing.assert_close(se.gate(padded, padding), se.gate(x))


@pytest.mark.parametrize(('kind', 'theirs'), [('ECA', 'eca'), ('eSE', 'ese')])
@pytest.mark.parametrize('channels', [16, 64, 256, 2048])
def test_timms_layers_agree(kind, theirs, channels):
    torch.manual_seed(0)
    theirs = timm.layers.create_attn(theirs, channels).double()
    ours = ATTENTIONS[kind](channels, 16).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, channels, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize('kind', ['CBAM', 'GC'])
def test_timms_own_layers(kind):
    layer = ATTENTIONS[kind](64, 16)
    assert type(layer).__module__.startswith('timm.layers')
    x = torch.randn(2, 64, 5, 6)
    assert layer(x).shape == x.shape
    hidden = {p.shape[0] for p in layer.parameters() if p.ndim == 4 and p.shape[1] == 64}
    assert 4 in hidden


def test_timm_that_is_not_installed(monkeypatch):
    found = builtins.__import__

    def missing(name, *others):
        if name.startswith('timm'):
            raise ImportError(name)
        return found(name, *others)

    monkeypatch.setattr(builtins, '__import__', missing)
    with pytest.raises(UsageError, match='pip install timm'):
        ATTENTIONS['CBAM'](64, 16)


@pytest.mark.parametrize(
    'make',
    [
        lambda: ATTENTIONS['ECA'](8, 2),
        lambda: ATTENTIONS['eSE'](8, 2),
        lambda: SqueezeExcitation(8, 2, gate='tanh'),
        lambda: SqueezeExcitation(8, 2, gate='relu'),
    ],
    ids=['ECA', 'eSE', 'tanh', 'relu'],
)
@pytest.mark.parametrize('sizes', [None, [[5, 6], [3, 4]]], ids=['whole', 'padded'])
@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_a_fused_tail_takes_any_gate_of_means(make, training, sizes):
    torch.manual_seed(0)
    se, norm = make().double(), nn.BatchNorm2d(8).double().train(training)
    nn.init.normal_(norm.running_mean)
    v, identity = (
        torch.randn(2, 8, 5, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    padding = sizes and Padding(torch.tensor(sizes), v)
    inputs = [v, identity, *norm.parameters(), *se.parameters()]
    outputs = (identity + se(norm(v), padding)).relu(), gated_tail(v, identity, norm, se, padding)
    torch.testing.assert_close(outputs[1], outputs[0])
    weights = torch.randn_like(identity)
    gradients = [torch.autograd.grad((y * weights).sum(), inputs) for y in outputs]
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_attentions():
    assert list(ATTENTIONS) == ['SE', 'ECA', 'eSE', 'CBAM', 'GC']
