"""The tail of a block on a CPU against the layers that it replaces."""

import copy

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from se_det.layers import Padding, SqueezeExcitation, gated_tail


def _random(*shape, channels_last=False, dtype=torch.float64):
    x = torch.randn(*shape, dtype=dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return x.requires_grad_()


def _layers(channels=8, training=False):
    """A norm with random weights and statistics, and SE, in float64."""
    norm = nn.BatchNorm2d(channels).double().train(training)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return norm, SqueezeExcitation(channels, 2).double()


def _by_layers(v, identity, norm, se, padding=None):
    return (identity + se(norm(v), padding)).relu()


def _run(tail, v, identity, norm, se, padding):
    """The output, running statistics and gradients."""
    norm, se = copy.deepcopy((norm, se))
    y = tail(v, identity, norm, se, padding)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    inputs = dict(v=v, identity=identity, **dict(norm.named_parameters(prefix='norm')))
    inputs |= dict(se.named_parameters(prefix='se'))
    gradients = torch.autograd.grad((y * weights).sum(), [*inputs.values()])
    return dict(norm.named_buffers(), y=y, **dict(zip(inputs, gradients, strict=True)))


def _assert_same(v, identity, norm, se, padding=None):
    inputs = v, identity, norm, se, padding
    expected = _run(_by_layers, *inputs)
    for name, found in _run(gated_tail, *inputs).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-9, atol=1e-9, msg=name)


@given(
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    training=st.booleans(),
    padded=st.booleans(),
    channels_last=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 99),
)
def test_gated_tail(batch, size, training, padded, channels_last, seed):
    assume(not training or batch * size[0] * size[1] > 1)  # one value has no variance
    torch.manual_seed(seed)
    v, identity = (_random(batch, 8, *size, channels_last=last) for last in channels_last)
    sizes = torch.stack([torch.randint(1, edge + 2, (batch,)) for edge in size], 1)
    _assert_same(v, identity, *_layers(training=training), Padding(sizes, v) if padded else None)


@pytest.mark.parametrize('sizes', [None, [[3, 3], [2, 1]]], ids=['whole', 'padded'])
@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_gradcheck(training, sizes):
    torch.manual_seed(0)
    norm, se = _layers(4, training)
    v, identity = _random(2, 4, 3, 3), _random(2, 4, 3, 3)
    padding = sizes and Padding(torch.tensor(sizes), v)
    inputs = v, identity, *norm.parameters(), *se.parameters()
    assert torch.autograd.gradcheck(lambda *_: gated_tail(v, identity, norm, se, padding), inputs)


def test_a_norm_whose_weight_is_zero():
    torch.manual_seed(0)
    norm, se = _layers(training=True)
    nn.init.zeros_(norm.weight)
    _assert_same(_random(2, 8, 5, 5), _random(2, 8, 5, 5), norm, se)


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
@pytest.mark.parametrize('padded', [False, True], ids=['whole', 'padded'])
@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize('where', ['v', 'identity', 'padding'])
def test_nan_and_infinities_are_those_of_the_layers(where, value, padded, training):
    torch.manual_seed(0)
    v, identity = _random(2, 8, 4, 5), _random(2, 8, 4, 5)
    with torch.no_grad():
        pixel = (1, 2, 3, 4) if where == 'padding' else (1, 2, 0, 0)
        (identity if where == 'identity' else v)[pixel] = value
    padding = Padding(torch.tensor([[4, 5], [3, 2]]), v) if padded else None
    inputs = v, identity, *_layers(training=training), padding
    expected = _run(_by_layers, *inputs)
    for name, found in _run(gated_tail, *inputs).items():
        pair = found, expected[name]
        if name == 'v' and padded:  # 0 times NaN is NaN
            pair = (x.masked_fill(padding.mask, 0) for x in pair)
        if name not in ('y', 'running_mean', 'running_var'):  # inf - inf, in another order
            pair = (torch.where(x.isinf(), torch.nan, x) for x in pair)
        torch.testing.assert_close(*pair, equal_nan=True, msg=name)


def test_two_maps_are_kept_for_backward():
    """They are the input of the norm and the output."""
    v, identity = _random(2, 8, 6, 7), _random(2, 8, 6, 7)
    kept = []
    for tail in (gated_tail, _by_layers):
        found = []
        with torch.autograd.graph.saved_tensors_hooks(found.append, lambda x: x):
            y = tail(v, identity, *_layers(training=True))
        kept.append({x.data_ptr() for x in found if x.shape == v.shape})
        assert {v.data_ptr(), y.data_ptr()} <= kept[-1]
    assert [len(maps) for maps in kept] == [2, 3]


def test_autocast_changes_nothing():
    torch.manual_seed(0)
    v, identity = (_random(2, 8, 6, 7, dtype=torch.float32) for _ in range(2))
    norm, se = (layer.float() for layer in _layers())
    identity = identity.bfloat16()
    expected = gated_tail(v, identity.float(), norm, se)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(gated_tail(v, identity, norm, se), expected)
