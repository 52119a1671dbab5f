"""A fused tail computes what the parts of a block compute, whatever these are."""

import copy
import sys
from itertools import product
from unittest import mock

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations

from se_det.backbones import SEBasicBlock, SEBottleneck, SEResNeXtBottleneck, fusing
from se_det.backbones.fusing import fuses
from se_det.layers import ChannelAttention, SqueezeExcitation
from se_det.layers.squeeze_excitation import Convolution
from tools.dev.peers.timing import saved_bytes

from .conftest import make_block

KINDS = [SEBottleneck, SEResNeXtBottleneck, SEBasicBlock]
TOLERANCE = {torch.float64: (1e-10, 1e-10), torch.float32: (1e-5, 2e-4)}  # outputs, gradients
PLANES = 8


def _randomise(block):
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def _make(kind, in_channels=None, training=False, **options):
    """A block with random norms, its stride and channels projected by a shortcut if need be."""
    out_channels = PLANES * kind.expansion
    in_channels = in_channels or out_channels
    stride = options.get('stride', 1)
    if in_channels != out_channels or stride > 1:
        conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
        options['downsample'] = nn.Sequential(conv, nn.BatchNorm2d(out_channels))
    if kind is SEResNeXtBottleneck:
        options.update(groups=2, base_width=32)
    se_cfg = dict(dict(reduction=4), **options.pop('se_cfg', {}))
    block = make_block(kind, in_channels, PLANES, se_cfg=se_cfg, **options)
    _randomise(block)
    return block.train(training)


def _run(block, x):
    """The output, and the gradients of the input and of all parameters."""
    block.zero_grad()
    leaf = x.clone().requires_grad_()
    y = block(leaf)
    (y * torch.linspace(-1, 1, y.numel(), dtype=x.dtype).view_as(y)).sum().backward()
    assert torch.equal(leaf, x)
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    return {'y': y.detach(), 'x': leaf.grad, **gradients}


def _assert_agree(block, x):
    """Outputs, gradients and statistics with and without a fused tail."""
    plain, ours = copy.deepcopy(block), copy.deepcopy(block)
    plain.fused = False
    expected, found = _run(plain, x), _run(ours, x)
    for buffer, theirs in zip(ours.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, theirs)
    output_tolerance, gradient_tolerance = TOLERANCE[x.dtype]
    for name, value in expected.items():
        if value is None or not value.numel():
            assert name not in found or found[name] is None or not found[name].numel()
            continue
        tolerance = output_tolerance if name == 'y' else gradient_tolerance
        assert (found[name] - value).abs().max() <= tolerance * max(1e-3, value.abs().max()), name


@given(
    kind=st.sampled_from(KINDS),
    stride=st.sampled_from([1, 2]),
    dilation=st.sampled_from([1, 2]),
    style=st.sampled_from(['pytorch', 'caffe']),
    batch=st.integers(0, 3),
    size=st.tuples(st.integers(3, 17), st.integers(3, 17)),
    in_channels=st.sampled_from([None, 24]),
    training=st.booleans(),
    channels_last=st.booleans(),
    relu_before_se=st.booleans(),
    with_cp=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 99),
)
@settings(max_examples=100)
def test_fused_blocks_agree_with_the_layers(
    kind, batch, size, in_channels, training, channels_last, relu_before_se, dtype, seed, **options
):
    assume(batch or not training)  # PyTorch's batch norm refuses it
    torch.manual_seed(seed)
    options['se_cfg'] = dict(relu_before_se=relu_before_se)
    block = _make(kind, in_channels, training, **options).to(dtype)
    x = torch.randn(batch, in_channels or PLANES * kind.expansion, *size, dtype=dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
        block.to(memory_format=torch.channels_last)
    _assert_agree(block, x)


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
        return {**_run(twin, x), **copy.deepcopy(dict(block.named_buffers()))}
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
    block = _make(kind, training=training).double()
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
    block = _make(kind, in_channels, training).double()
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
    block = _make(SEBottleneck, training=training).double()
    before = block(x)
    with mock.patch.object(owner, method, replacement):
        found = block(x)
        block.fused = False
        torch.testing.assert_close(found, block(x))
    assert not torch.allclose(found, before)


@pytest.mark.parametrize(
    'options',
    [
        dict(norm_cfg=dict(type='GN', num_groups=4)),
        dict(dcn=dict(type='DCNv2', deform_groups=1)),
        dict(plugins=[dict(cfg=dict(type='ContextBlock', ratio=1 / 4), position='after_conv2')]),
    ],
    ids=['GN', 'DCN', 'plugin'],
)
@pytest.mark.parametrize('training', [False, True])
def test_other_layers(options, training):
    torch.manual_seed(0)
    block = _make(SEBottleneck, training=training, **options).double()
    _assert_agree(block, torch.randn(2, 32, 9, 11, dtype=torch.float64))


@pytest.fixture
def block():
    torch.manual_seed(0)
    return _make(SEBottleneck).double()


@pytest.fixture
def x():
    return torch.randn(2, 32, 12, 10, dtype=torch.float64)


def test_when_a_tail_is_fused(block, x, monkeypatch):
    v = block.before_last_norm(x)
    for training in (True, False):
        assert fuses(block.train(training), v)
        assert not fuses(block, v.float())
    assert fuses(_make(SEBasicBlock), torch.randn(2, 8, 12, 10))
    for other in (v.bfloat16(), v.to('meta'), v[:0]):
        assert not fuses(block, other)
    monkeypatch.setattr(fusing, 'is_eager', lambda v: True)
    monkeypatch.setattr(fusing, '_kernels_work', lambda device: device.index == 3)
    for fused, index, dtype in product((None, False, True), (3, 4), (torch.float64, torch.float16)):
        device = torch.device('cuda', index)
        gpu = dict(is_cuda=True, is_cpu=False, device=device, dtype=dtype)
        block.fused = fused
        on_gpu = mock.Mock(torch.Tensor, shape=v.shape, numel=v.numel, **gpu)
        assert fuses(block, on_gpu) == (fused is True and index == 3)


def test_a_machine_without_triton_is_told_so_once(log, monkeypatch):
    monkeypatch.setattr(fusing, '_WORK', {})
    monkeypatch.setitem(sys.modules, 'triton', None)
    monkeypatch.delitem(sys.modules, 'se_det.layers.tail_cuda', raising=False)
    device = torch.device('cuda', 5)
    assert [fusing._kernels_work(device) for _ in range(2)] == [False, False]
    (message,) = log
    assert message.startswith('SE is computed layer by layer on cuda:5: its fused kernels do not')
    assert 'triton' in message


def test_the_trial_of_the_kernels_is_not_traced(monkeypatch):
    tried = []
    monkeypatch.setattr(fusing, '_WORK', {})
    monkeypatch.setattr(fusing, '_try_kernels', lambda device: tried.append(device) is None)

    @torch.compile(backend='eager', fullgraph=True)
    def twice(x):
        return sum(x + fusing._kernels_work(x.device) for _ in range(2))

    assert twice(torch.zeros(())) == 2
    assert tried == [torch.device('cpu')]


@pytest.mark.parametrize('training', [False, True])
def test_an_output_changed_through_data_has_the_gradients_of_the_layers(block, x, training):
    gradients = []
    for fused in (False, None):
        block.train(training).fused = fused
        leaf = x.clone().requires_grad_()
        y = block(leaf)
        y.data.mul_(3)
        gradients.append(torch.autograd.grad(y.sum(), [leaf, *block.parameters()]))
    for plain, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, plain)


def test_frozen_parameters_get_no_gradient_and_the_others_do(block, x):
    for name, parameter in block.named_parameters():
        parameter.requires_grad = not name.startswith(('conv1', 'bn2', 'bn3.weight', 'se.fc1'))
    leaf = x.requires_grad_()
    block(leaf).square().sum().backward()
    assert leaf.grad.any()
    for parameter in block.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_what_is_kept_for_backward(block, training):
    """Of the tail the input of the norm and the output, of the other layers what each reads."""
    x = torch.randn(1, 32, 40, 40, dtype=torch.float64, requires_grad=True)
    wide, narrow = x.nbytes, x.nbytes // 4
    block.train(training)
    assert saved_bytes(block, x) < 1.05 * (2 * wide + 4 * narrow)
    block.fused = False
    assert saved_bytes(block, x) > 3 * wide + 4 * narrow


def test_an_input_of_another_precision_is_an_error_as_in_torch(block, x):
    with pytest.raises(RuntimeError, match='type'):
        block(x.float())


@pytest.mark.parametrize('anywhere', [False, True])
def test_hooks_are_called(block, x, anywhere):
    gates = []
    register = register_module_forward_hook if anywhere else block.se.register_forward_hook
    handle = register(lambda module, *_: gates.append(module) if module is block.se else None)
    block(x)
    handle.remove()
    assert len(gates) == 1


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize('kind', KINDS)
def test_inference(kind, mode):
    block, x = _make(kind).double(), torch.randn(2, 8 * kind.expansion, 9, 9, dtype=torch.float64)
    expected = block(x).detach()
    with mode():
        assert torch.equal(block(x), expected)


def test_transforms_and_graphs(block, x):
    def loss(x):
        return block(x).square().sum()

    leaf = x.clone().requires_grad_()
    gradient = torch.autograd.grad(loss(leaf), leaf)[0]
    torch.testing.assert_close(torch.func.grad(loss)(x), gradient)
    tangent = torch.randn_like(x)
    torch.testing.assert_close(
        torch.func.jvp(loss, (x,), (tangent,))[1], (gradient * tangent).sum()
    )
    mapped = torch.func.vmap(lambda image: block(image[None])[0])(x)
    torch.testing.assert_close(mapped, block(x))
    traced = torch.fx.symbolic_trace(block)
    torch.testing.assert_close(traced(x), block(x))
    torch.testing.assert_close(torch.jit.trace(block, x)(x), block(x))


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_compiled_blocks_agree(block, x, training):
    plain = copy.deepcopy(block.train(training))
    plain.fused = False
    compiled = torch.compile(block, backend='aot_eager', fullgraph=True)
    for name, value in _run(compiled, x).items():
        torch.testing.assert_close(value, _run(plain, x)[name.removeprefix('_orig_mod.')])


def test_an_exported_block_takes_other_sizes(block, x):
    sizes = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    exported = torch.export.export(block, (x,), dynamic_shapes=(sizes,)).module()
    smaller = x[..., :5, :4].contiguous()
    torch.testing.assert_close(exported(smaller), block(smaller))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('kind', KINDS)
def test_half_precision_is_computed_layer_by_layer(kind, dtype):
    block = _make(kind)
    x = torch.randn(2, PLANES * kind.expansion, 9, 9)
    for half in (False, True):
        found = []
        for block.fused in (None, False):
            if half:
                found.append(block.to(dtype)(x.to(dtype)))
            else:
                with torch.autocast('cpu', dtype):
                    found.append(block(x))
        assert found[0].dtype is dtype and torch.equal(*found)


@pytest.mark.parametrize('part', ['se', 'se.conv', 'se.gate_act', 'relu'])
def test_hooks_on_the_parts_of_eca_are_called(part):
    torch.manual_seed(0)
    block = make_block(SEBottleneck, 32, 8, se_cfg=dict(type='ECA'))
    v = torch.randn(2, 32, 5, 6)
    assert fuses(block.eval(), v)
    block.get_submodule(part).register_forward_hook(lambda *_: None)
    assert not fuses(block, v)
