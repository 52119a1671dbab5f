"""The fused functions against the composition of the layers that they replace."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from se_det.layers import SqueezeExcitation, folded_convolution, gated_norm, gated_projection


def _norm(channels, training=False):
    norm = nn.BatchNorm2d(channels).double().train(training)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return norm


def _random(*shape, channels_last=False):
    x = torch.randn(*shape, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return x.requires_grad_()


def _assert_same(found, expected, inputs):
    """The same output and the same gradients of all inputs."""
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((y * weights).sum(), inputs) for y in (found, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@given(
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2, (2, 3)]),
    padding=st.sampled_from([0, 1]),
    dilation=st.sampled_from([1, 2]),
    groups=st.sampled_from([1, 2]),
    relu=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_folded_convolution(kernel, stride, padding, dilation, groups, relu, channels_last, seed):
    torch.manual_seed(seed)
    geometry = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    conv = nn.Conv2d(4, 6, kernel, bias=False, **geometry).double()
    norm = _norm(6)
    x = _random(2, 4, 9, 7, channels_last=channels_last)
    expected = norm(conv(x)).relu() if relu else norm(conv(x))
    found = folded_convolution(x, conv, norm, relu)
    _assert_same(found, expected, [x, conv.weight, *norm.parameters()])


def _sizes(padded, batch, size):
    """Random sizes of the images in a batch of ``size``, None if it is not padded."""
    edges = [torch.randint(1, edge + 1, (batch,)) for edge in size]
    return torch.stack(edges, 1) if padded else None


@given(
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    padded=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_gated_projection(batch, size, padded, channels_last, seed):
    torch.manual_seed(seed)
    conv, norm = nn.Conv2d(3, 8, 1, bias=False).double(), _norm(8)
    se = SqueezeExcitation(8, 2).double()
    u = _random(batch, 3, *size, channels_last=channels_last)
    identity = _random(batch, 8, *size, channels_last=channels_last)
    sizes = _sizes(padded, batch, size)
    expected = (identity + se(norm(conv(u)), sizes)).relu()
    found = gated_projection(u, identity, conv, norm, se, sizes)
    _assert_same(found, expected, [u, identity, conv.weight, *norm.parameters(), *se.parameters()])


@given(
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(2, 9), st.integers(1, 9)),
    training=st.booleans(),
    padded=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_gated_norm(batch, size, training, padded, channels_last, seed):
    torch.manual_seed(seed)
    norm, twin = _norm(8, training), _norm(8, training)
    twin.load_state_dict(norm.state_dict())
    se = SqueezeExcitation(8, 2).double()
    x = _random(batch, 8, *size, channels_last=channels_last)
    identity = _random(batch, 8, *size, channels_last=channels_last)
    sizes = _sizes(padded, batch, size)
    expected = (identity + se(norm(x), sizes)).relu()
    found = gated_norm(x, identity, twin, se, sizes)
    for ours, theirs in zip(twin.buffers(), norm.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    twin.weight, twin.bias = norm.weight, norm.bias
    found = gated_norm(x, identity, twin, se, sizes)
    _assert_same(found, expected, [x, identity, *norm.parameters(), *se.parameters()])


@pytest.mark.parametrize('sizes', [None, [[3, 3], [2, 1]]], ids=['whole', 'padded'])
@pytest.mark.parametrize('training', [False, True])
def test_gradcheck(training, sizes):
    torch.manual_seed(0)
    norm, se = _norm(4, training), SqueezeExcitation(4, 2).double()
    conv = nn.Conv2d(2, 4, 1, bias=False).double()
    x, u = _random(2, 4, 3, 3), _random(2, 2, 3, 3)
    identity = _random(2, 4, 3, 3)
    parameters = (*norm.parameters(), *se.parameters())
    sizes = torch.tensor(sizes) if sizes else None
    inputs = (x, identity, *parameters)
    assert torch.autograd.gradcheck(lambda *_: gated_norm(x, identity, norm, se, sizes), inputs)
    if not training:
        inputs = (u, identity, conv.weight, *parameters)
        function = lambda *_: gated_projection(u, identity, conv, norm, se, sizes)  # noqa: E731
        assert torch.autograd.gradcheck(function, inputs)


def test_a_norm_whose_weight_is_zero():
    torch.manual_seed(0)
    norm, se = _norm(8, training=True), SqueezeExcitation(8, 2).double()
    nn.init.zeros_(norm.weight)
    x, identity = _random(2, 8, 5, 5), _random(2, 8, 5, 5)
    inputs = [x, identity, *norm.parameters(), *se.parameters()]
    expected = (identity + se(norm(x))).relu()
    _assert_same(gated_norm(x, identity, norm, se), expected, inputs)
