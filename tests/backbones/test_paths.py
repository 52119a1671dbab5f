"""Fused paths compute what the parts of a block compute, whatever these are."""

import copy
import statistics
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations

from se_det.analysis.benchmark import saved_bytes
from se_det.backbones import SEBasicBlock, SEBottleneck, SEResNeXtBottleneck
from se_det.backbones.paths import Path, choose_path
from se_det.layers import SqueezeExcitation

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
    block = kind(in_channels, PLANES, **dict(dict(reduction=4), **options))
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
    """Outputs and gradients with and without fused paths."""
    plain = copy.deepcopy(block)
    plain.fused = False
    expected, found = _run(plain, x), _run(copy.deepcopy(block), x)
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
@settings(max_examples=400)
def test_fused_blocks_agree_with_the_plain_composition(
    kind, batch, size, in_channels, training, channels_last, dtype, seed, **options
):
    torch.manual_seed(seed)
    block = _make(kind, in_channels, training, **options).to(dtype)
    x = torch.randn(batch, in_channels or PLANES * kind.expansion, *size, dtype=dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
        block.to(memory_format=torch.channels_last)
    if batch == 0 and training:
        return  # PyTorch's batch norm refuses it
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
        setattr(block.get_submodule(owner), attribute, make(block))

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
    'se.act': _set('se.act', lambda block: nn.SiLU()),
    'se.sigmoid': _set('se.sigmoid', lambda block: nn.Hardsigmoid()),
    'se.fc1 without bias': _conv('se.fc1', bias=False),
    'se.fc1 3x3': _conv('se.fc1', kernel_size=3, padding=1),
    'se.fc2 grouped': _conv('se.fc2', groups=2),
    'se.gate': _set('se.gate', lambda block: lambda x: x.mean((2, 3), keepdim=True)),
    'se.forward': _set('se.forward', lambda block: lambda x: 3 * x),
    'residual': _set('residual', lambda block: lambda x: 2 * block.conv1.weight.sum() * x),
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
}
BOTTLENECK_REPLACEMENTS = {
    'conv3 grouped': _conv('conv3', groups=2),
    'conv3 3x3': _conv('conv3', kernel_size=3, padding=1),
    'bn3 without bias': _set('bn3.bias', lambda block: None),
    'bn3 eval': lambda block: block.bn3.eval(),
    'bn3 train': lambda block: block.bn3.train(),
    'bn3 momentum': _set('bn3.momentum', lambda block: None),
    'bn3 not tracked': _set('bn3.track_running_stats', lambda block: False),
    'bn3 not counted': _set('bn3.num_batches_tracked', lambda block: None),
    'bn3 no statistics': _set(
        'bn3', lambda block: nn.BatchNorm2d(4 * PLANES, track_running_stats=False).double()
    ),
}


@given(
    kind=st.sampled_from([SEBottleneck, SEBasicBlock]),
    in_channels=st.sampled_from([None, 24]),
    training=st.booleans(),
    changes=st.lists(
        st.sampled_from([*REPLACEMENTS, *BOTTLENECK_REPLACEMENTS]), min_size=1, max_size=2
    ),
    wrapped=st.integers(-10, 12),
    hooked=st.integers(-10, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=300)
def test_replaced_and_patched_parts_are_respected(
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
    names = [name for name, module in block.named_modules() if name and '.' not in name]
    if 0 <= wrapped < len(names):
        setattr(block, names[wrapped], _Doubled(getattr(block, names[wrapped])))
    if 0 <= hooked < len(names):
        getattr(block, names[hooked]).register_forward_hook(lambda *args: args[-1] * 1.5)
    results = []
    for fused in (False, None):
        twin = copy.copy(block)  # patches hold references to the block's own layers
        twin.fused = fused
        statistics_before = copy.deepcopy(list(block.buffers()))
        try:
            results.append(twin(x))
        except Exception as error:
            results.append(type(error))
        results.append(copy.deepcopy(list(block.buffers())))
        for buffer, before in zip(block.buffers(), statistics_before, strict=True):
            buffer.copy_(before)
    expected, expected_buffers, found, found_buffers = results
    if isinstance(expected, type):
        assert found is expected
    else:
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        for ours, theirs in zip(found_buffers, expected_buffers, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ('owner', 'method', 'replacement'),
    [
        (SqueezeExcitation, 'forward', lambda self, x: 3 * x),
        (SqueezeExcitation, 'gate', lambda self, x: x.mean((2, 3), keepdim=True)),
        (
            nn.Conv2d,
            '_conv_forward',
            lambda self, x, w, b: 2 * nn.functional.conv2d(x, w[..., :1, :1], b, self.stride),
        ),
        (nn.BatchNorm2d, 'forward', lambda self, x: 2 * x),
        (nn.ReLU, 'forward', lambda self, x: x.tanh()),
        (SEBottleneck, 'residual', lambda self, x: 2 * x),
        (SEBottleneck, 'shortcut', lambda self, x: 2 * x),
    ],
    ids=lambda value: getattr(value, '__name__', value),
)
@pytest.mark.parametrize('training', [False, True])
def test_methods_patched_on_a_class_are_respected(owner, method, replacement, training):
    block = _make(SEBottleneck, training=training).double()
    x = torch.randn(2, 32, 9, 9, dtype=torch.float64)
    with mock.patch.object(owner, method, replacement):
        found = block(x)
        block.fused = False
        torch.testing.assert_close(found, block(x))


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
    _assert_agree(_make(SEBottleneck, training=training, **options), torch.randn(2, 32, 9, 11))


@pytest.fixture
def block():
    torch.manual_seed(0)
    return _make(SEBottleneck).double()


@pytest.fixture
def x():
    return torch.randn(2, 32, 12, 10, dtype=torch.float64)


def test_paths(block, x, monkeypatch):
    assert choose_path(block, x) is Path.FOLDED
    assert choose_path(block, x[..., :2, :2]) is Path.LEAN  # fewer pixels than channels
    assert choose_path(block.train(), x) is Path.LEAN
    block.fused = False
    assert choose_path(block, x) is Path.PLAIN
    assert choose_path(_make(SEBasicBlock), torch.randn(2, 8, 12, 10)) is Path.LEAN
    block.eval().fused = None
    assert choose_path(block, x.to('meta')) is Path.PLAIN
    monkeypatch.setattr('se_det.backbones.paths.is_eager', lambda x: True)
    gpu = mock.MagicMock(wraps=x, is_cuda=True, device=torch.device('cuda'), dtype=x.dtype)
    gpu.__getitem__.side_effect = x.__getitem__
    for fused, path in ((None, Path.PLAIN), (True, Path.FOLDED), (False, Path.PLAIN)):
        block.fused = fused
        assert choose_path(block, gpu) is path


@pytest.mark.parametrize('training', [False, True])
def test_an_output_changed_through_data_has_the_gradients_of_the_plain_composition(
    block, x, training
):
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


@pytest.mark.parametrize('training', [False, True])
def test_what_is_kept_for_backward(block, training):
    x = torch.randn(1, 32, 40, 40, dtype=torch.float64, requires_grad=True)
    wide, narrow = x.nbytes, x.nbytes // 4
    block.train(training)
    # The output, and of each convolution what it reads; in training each norm's input too.
    expected = wide + 2 * narrow + (wide + 2 * narrow if training else 0)
    assert saved_bytes(block, x) < 1.05 * expected
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


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
@pytest.mark.parametrize('kind', KINDS)
def test_bfloat16_errors_at_most_double(kind, training):
    """Against float64; the median of several blocks, as a gate's ReLU may flip in one of them."""
    ratios = {}
    for seed in range(9):
        torch.manual_seed(seed)
        block = _make(kind, training=training, reduction=1)
        plain = copy.deepcopy(block)
        plain.fused = False
        x = torch.randn(2, PLANES * kind.expansion, 13, 17).bfloat16()
        exact = _run(copy.deepcopy(plain).double(), x.double())
        with torch.autocast('cpu', torch.bfloat16):
            expected, found = _run(plain, x), _run(block, x)
        for name, value in exact.items():
            errors = [(result[name].double() - value).norm() for result in (found, expected)]
            ratios.setdefault(name, []).append(float(errors[0] / errors[1]))
    assert {name: r for name, r in ratios.items() if statistics.median(r) > 2} == {}


def test_transforms_and_graphs(block, x):
    loss = lambda x: block(x).square().sum()  # noqa: E731
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(torch.func.grad(loss)(x), torch.autograd.grad(loss(leaf), leaf)[0])
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


def test_autocast_and_half_models_have_the_precision_of_the_plain_composition(block, x):
    block.float()
    plain = copy.deepcopy(block)
    plain.fused = False
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        assert block(x.float()).dtype == plain(x.float()).dtype == torch.bfloat16
    half = block.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), plain(x.float()), rtol=0.05, atol=0.05)
