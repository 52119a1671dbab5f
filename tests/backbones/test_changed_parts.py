"""Parts of a block that were replaced, subclassed, patched or hooked are called as they are."""

import copy
from itertools import product
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations

from se_det.backbones import SEBasicBlock, SEBottleneck
from se_det.backbones.fusing import fuses
from se_det.layers import ChannelAttention, SqueezeExcitation
from se_det.layers.squeeze_excitation import Convolution

from .conftest import make_block
from .fused_blocks import PLANES, make_random, run_block


class _Doubled(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return 2 * self.module(x)


class _OtherReLU(nn.ReLU):
    def forward(self, x):
        return x.clamp(-1, 1)


class _OtherSE(SqueezeExcitation):
    def gate(self, x):
        return 1 - super().gate(x)


def _set(name, make):
    """A replacement of the submodule or method of a dotted name."""

    def change(block):
        owner, _, attribute = name.rpartition('.')
        owner = block.get_submodule(owner)
        assert hasattr(owner, attribute)
        setattr(owner, attribute, make(block))

    return change


def _conv(name, **options):
    """A replacement of a convolution by one with other options and random weights."""

    def make(block):
        conv = block.get_submodule(name)
        kept = dict(
            kernel_size=conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            bias=conv.bias is not None,
        )
        return nn.Conv2d(conv.in_channels, conv.out_channels, **{**kept, **options}).double()

    return _set(name, make)


def _scaled_weight(block):
    weight = block.conv2.weight
    block.conv2._conv_forward = lambda x, *_: 2 * nn.functional.conv2d(x, weight, padding=1)


REPLACEMENTS = {
    'relu SiLU': _set('relu', lambda block: nn.SiLU()),
    'relu LeakyReLU': _set('relu', lambda block: nn.LeakyReLU(0.2)),
    'relu Identity': _set('relu', lambda block: nn.Identity()),
    'relu Sequential': _set('relu', lambda block: nn.Sequential(nn.ReLU(), nn.Tanh())),
    'relu subclass': _set('relu', lambda block: _OtherReLU()),
    'se Identity': _set('se', lambda block: nn.Identity()),
    'se subclass': _set('se', lambda block: _OtherSE(block.conv1.in_channels, 2).double()),
    'se.act SiLU': _set('se.act', lambda block: nn.SiLU()),
    'se.act Tanh': _set('se.act', lambda block: nn.Tanh()),
    'se.gate_act Hardsigmoid': _set('se.gate_act', lambda block: nn.Hardsigmoid()),
    'se.gate_act Tanh': _set('se.gate_act', lambda block: nn.Tanh()),
    'se.fc1 Conv2d': _conv('se.fc1'),
    'se.fc1 without bias': _conv('se.fc1', bias=False),
    'se.fc1 3x3': _conv('se.fc1', kernel_size=3, padding=1),
    'se.fc2 grouped': _conv('se.fc2', groups=2),
    'se.gate': _set('se.gate', lambda block: lambda x: x.mean((2, 3), keepdim=True)),
    'se.forward': _set('se.forward', lambda block: lambda x: 3 * x),
    'se.squeezed': _set('se.squeezed', lambda block: lambda x, *_: x[..., :1, :1]),
    'se.excite': _set('se.excite', lambda block: lambda z: 2 * z),
    'se.squeeze': _set('se.squeeze', lambda block: 'max'),
    'se in float32': lambda block: block.se.float(),
    'se.fc1.forward': _set(
        'se.fc1.forward', lambda block: lambda z: 3 * z[:, : block.se.fc2.in_channels]
    ),
    'se.gate_act.forward': _set('se.gate_act.forward', lambda block: torch.tanh),
    'relu.forward': _set('relu.forward', lambda block: torch.tanh),
    'bn2.forward': _set('bn2.forward', lambda block: torch.tanh),
    'after_last_norm': _set('after_last_norm', lambda block: lambda x: 3 * x),
    'scale': _set('scale', lambda block: lambda x: 3 * x),
    'shortcut': _set('shortcut', lambda block: lambda x: 3 * x),
    'before_last_norm': _set('before_last_norm', lambda block: lambda x: 3 * x),
    'conv2._conv_forward': _scaled_weight,
    'conv1 with bias': _conv('conv1', bias=True),
    'conv2 reflect': _conv('conv2', padding_mode='reflect'),
    'conv2 same': _conv('conv2', padding='same'),
    'conv2 grouped': _conv('conv2', groups=2),
    'bn1 Identity': _set('bn1', lambda block: nn.Identity()),
    'bn2 GN': _set('bn2', lambda block: nn.GroupNorm(2, PLANES).double()),
    'bn1 not affine': _set('bn1', lambda block: nn.BatchNorm2d(PLANES, affine=False).double()),
    'bn2 without bias': _set('bn2.bias', lambda block: None),
    'bn2 no statistics': _set(
        'bn2', lambda block: nn.BatchNorm2d(PLANES, track_running_stats=False).double()
    ),
    'bn2 momentum': _set('bn2.momentum', lambda block: None),
    'bn2 not tracked': _set('bn2.track_running_stats', lambda block: False),
    'bn2 not counted': _set('bn2.num_batches_tracked', lambda block: None),
    'se.fc2 to one channel': _set(
        'se.fc2', lambda block: nn.Conv2d(block.se.fc2.in_channels, 1, 1).double()
    ),
    'bn2 eval': lambda block: block.bn2.eval(),
    'bn2 train': lambda block: block.bn2.train(),
    'weight norm': lambda block: parametrizations.weight_norm(block.conv1),
    'weight norm of se.fc2': lambda block: parametrizations.weight_norm(block.se.fc2),
}
BOTTLENECK_REPLACEMENTS = {
    'conv3 grouped': _conv('conv3', groups=2),
    'conv3 3x3': _conv('conv3', kernel_size=3, padding=1),
    'bn3 without bias': _set('bn3.bias', lambda block: None),
    'bn3.forward': _set('bn3.forward', lambda block: torch.tanh),
    'bn3 eval': lambda block: block.bn3.eval(),
    'bn3 train': lambda block: block.bn3.train(),
    'bn3 momentum': _set('bn3.momentum', lambda block: None),
    'bn3 not tracked': _set('bn3.track_running_stats', lambda block: False),
    'bn3 not counted': _set('bn3.num_batches_tracked', lambda block: None),
    'bn3 no statistics': _set(
        'bn3', lambda block: nn.BatchNorm2d(4 * PLANES, track_running_stats=False).double()
    ),
}


def _outcome(block, x, fused):
    """Outputs, gradients and statistics, or the error; the statistics are then reset."""
    twin = copy.copy(block)  # patches hold references to the block's own layers
    twin.fused = fused
    before = copy.deepcopy(dict(block.named_buffers()))
    try:
        return {**run_block(twin, x), **copy.deepcopy(dict(block.named_buffers()))}
    except Exception as error:
        return type(error)
    finally:
        for name, value in before.items():
            block.get_buffer(name).copy_(value)


def _assert_same_outcome(block, x):
    expected, found = (_outcome(block, x, fused) for fused in (False, None))
    if isinstance(expected, type):
        assert found is expected
        return
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
@pytest.mark.parametrize(
    ('change', 'kind'),
    [
        *product(REPLACEMENTS, (SEBottleneck, SEBasicBlock)),
        *product(BOTTLENECK_REPLACEMENTS, (SEBottleneck,)),
    ],
)
def test_a_replaced_or_patched_part_is_respected(change, kind, training, x):
    torch.manual_seed(0)
    block = make_random(kind, training=training).double()
    x = x[:, : block.conv1.in_channels]
    block(x)  # what is found out in a forward need not hold in the next
    {**REPLACEMENTS, **BOTTLENECK_REPLACEMENTS}[change](block)
    _assert_same_outcome(block, x)


@given(
    kind=st.sampled_from([SEBottleneck, SEBasicBlock]),
    in_channels=st.sampled_from([None, 24]),
    training=st.booleans(),
    changes=st.lists(st.sampled_from([*REPLACEMENTS, *BOTTLENECK_REPLACEMENTS]), max_size=2),
    wrapped=st.integers(-10, 16),
    hooked=st.integers(-10, 16),
    seed=st.integers(0, 99),
)
@settings(max_examples=100)
def test_replaced_wrapped_and_hooked_parts_are_respected(
    kind, in_channels, training, changes, wrapped, hooked, seed
):
    torch.manual_seed(seed)
    block = make_random(kind, in_channels, training).double()
    x = torch.randn(2, block.conv1.in_channels, 9, 7, dtype=torch.float64)
    for change in changes:
        if change in REPLACEMENTS:
            REPLACEMENTS[change](block)
        elif kind is SEBottleneck:
            BOTTLENECK_REPLACEMENTS[change](block)
    names = [name for name, module in block.named_modules() if name and name.count('.') < 2]
    if 0 <= hooked < len(names):
        block.get_submodule(names[hooked]).register_forward_hook(lambda *args: args[-1] * 1.5)
    if 0 <= wrapped < len(names):
        name = names[wrapped]
        _set(name, lambda block: _Doubled(block.get_submodule(name)))(block)
    _assert_same_outcome(block, x)


@pytest.mark.parametrize(
    ('owner', 'method', 'replacement'),
    [
        (SqueezeExcitation, 'forward', lambda self, x: 3 * x),
        (SqueezeExcitation, 'gate', lambda self, x: x.mean((2, 3), keepdim=True)),
        (SqueezeExcitation, 'squeezed', lambda self, x, *_: x[..., :1, :1]),
        (SqueezeExcitation, 'excite', lambda self, z: 2 * z),
        (ChannelAttention, 'forward', lambda self, x: 3 * x),
        (
            Convolution,
            'forward',
            lambda self, x: x.mean(1, keepdim=True) + self.bias.view(-1, 1, 1),
        ),
        (
            nn.Conv2d,
            '_conv_forward',
            lambda self, x, w, b: 2 * nn.functional.conv2d(x, w[..., :1, :1], b, self.stride),
        ),
        (nn.BatchNorm2d, 'forward', lambda self, x: 2 * x),
        (nn.ReLU, 'forward', lambda self, x: x.tanh()),
        (nn.Sigmoid, 'forward', lambda self, x: x.tanh()),
        (SEBottleneck, 'before_last_norm', lambda self, x: 2 * x),
        (SEBottleneck, 'after_last_norm', lambda self, x: 2 * x),
        (SEBottleneck, 'scale', lambda self, x: 2 * x),
        (SEBottleneck, 'shortcut', lambda self, x: 2 * x),
    ],
    ids=lambda value: getattr(value, '__name__', value),
)
@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_methods_patched_on_a_class_are_respected(owner, method, replacement, training, x):
    block = make_random(SEBottleneck, training=training).double()
    before = block(x)
    with mock.patch.object(owner, method, replacement):
        found = block(x)
        block.fused = False
        torch.testing.assert_close(found, block(x))
    assert not torch.allclose(found, before)


@pytest.fixture
def block():
    torch.manual_seed(0)
    return make_random(SEBottleneck).double()


@pytest.fixture
def x():
    return torch.randn(2, 32, 12, 10, dtype=torch.float64)


@pytest.mark.parametrize('anywhere', [False, True])
def test_hooks_are_called(block, x, anywhere):
    gates = []
    register = register_module_forward_hook if anywhere else block.se.register_forward_hook
    handle = register(lambda module, *_: gates.append(module) if module is block.se else None)
    block(x)
    handle.remove()
    assert len(gates) == 1


@pytest.mark.parametrize('part', ['se', 'se.conv', 'se.gate_act', 'relu'])
def test_hooks_on_the_parts_of_eca_are_called(part):
    torch.manual_seed(0)
    block = make_block(SEBottleneck, 32, 8, se_cfg=dict(type='ECA'))
    v = torch.randn(2, 32, 5, 6)
    assert fuses(block.eval(), v)
    block.get_submodule(part).register_forward_hook(lambda *_: None)
    assert not fuses(block, v)
