"""The fused ways of an SE block against the plain composition: outputs and every gradient."""

import copy
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from se_det.analysis.benchmark import saved_bytes
from se_det.backbones import SEBasicBlock, SEBottleneck, SEResNeXtBottleneck
from se_det.layers import can_fold, folded_convolution

settings.register_profile('blocks', deadline=None, max_examples=25, derandomize=True)
settings.load_profile('blocks')

TOLERANCE = {torch.float64: (1e-10, 1e-10), torch.float32: (1e-5, 2e-4)}  # outputs, gradients


def _randomise(block):
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def _downsample(channels, out_channels, stride):
    conv = nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def _assert_close(found, expected, tolerance):
    assert found.shape == expected.shape
    if expected.numel():
        assert (found - expected).abs().max() <= tolerance * max(1e-3, expected.abs().max())


def _run(block, x):
    """The output, and the gradients of the input and of all parameters."""
    block.zero_grad()
    leaf = x.clone().requires_grad_()
    y = block(leaf)
    (y * torch.linspace(-1, 1, y.numel(), dtype=x.dtype).view_as(y)).sum().backward()
    assert torch.equal(leaf, x)  # a block may write over maps of its own, not over what it reads
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    return {'y': y.detach(), 'x': leaf.grad, **gradients}


def _assert_agree(block, x):
    """Outputs and gradients of the fused and the plain way."""
    plain = copy.deepcopy(block)
    plain.fused = False
    expected, found = _run(plain, x), _run(copy.deepcopy(block), x)
    output_tolerance, gradient_tolerance = TOLERANCE[x.dtype]
    for name, value in expected.items():
        _assert_close(found[name], value, output_tolerance if name == 'y' else gradient_tolerance)


@given(
    kind=st.sampled_from([SEBottleneck, SEResNeXtBottleneck, SEBasicBlock]),
    stride=st.sampled_from([1, 2]),
    dilation=st.sampled_from([1, 2]),
    style=st.sampled_from(['pytorch', 'caffe']),
    batch=st.integers(0, 3),
    size=st.tuples(st.integers(3, 17), st.integers(3, 17)),
    downsample=st.booleans(),
    training=st.booleans(),
    channels_last=st.booleans(),
    relu_before_se=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 99),
)
def test_fused_blocks_agree_with_the_plain_composition(
    kind,
    stride,
    dilation,
    style,
    batch,
    size,
    downsample,
    training,
    channels_last,
    relu_before_se,
    dtype,
    seed,
):
    torch.manual_seed(seed)
    planes = 16
    out_channels = planes * kind.expansion
    in_channels = 24 if stride == 2 or downsample else out_channels
    shortcut = _downsample(in_channels, out_channels, stride) if in_channels == 24 else None
    more = dict(groups=4, base_width=16) if kind is SEResNeXtBottleneck else {}
    block = kind(
        in_channels,
        planes,
        reduction=4,
        stride=stride,
        dilation=dilation,
        style=style,
        downsample=shortcut,
        relu_before_se=relu_before_se,
        **more,
    )
    _randomise(block)
    block.to(dtype).train(training)
    x = torch.randn(batch, in_channels, *size, dtype=dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    _assert_agree(block, x)


@pytest.mark.parametrize(
    'options',
    [
        dict(norm_cfg=dict(type='GN', num_groups=4)),
        dict(dcn=dict(type='DCNv2', deform_groups=1)),
        dict(plugins=[dict(cfg=dict(type='ContextBlock', ratio=1 / 4), position='after_conv2')]),
    ],
    ids=['GN', 'DCN', 'plugin'],
)
def test_the_lean_residual_where_nothing_folds(options):
    torch.manual_seed(0)
    block = SEBottleneck(64, 16, reduction=4, **options).eval()
    _randomise(block)
    _assert_agree(block, torch.randn(2, 64, 9, 11))


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = SEBottleneck(64, 16, reduction=4).double().eval()
    _randomise(block)
    return block


@pytest.fixture
def x():
    return torch.randn(2, 64, 12, 10, dtype=torch.float64)


def test_frozen_parameters_get_no_gradient_and_the_others_do(block, x):
    for name, parameter in block.named_parameters():
        parameter.requires_grad = not name.startswith(('conv1', 'bn2', 'bn3.weight', 'se.fc1'))
    leaf = x.requires_grad_()
    block(leaf).square().sum().backward()
    assert leaf.grad.any()
    for parameter in block.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad


def test_neither_projection_nor_its_norm_is_kept(block):
    x = torch.randn(1, 64, 40, 40, dtype=torch.float64, requires_grad=True)
    wide, narrow = x.nbytes, x.nbytes // 4
    assert saved_bytes(block, x) < 1.02 * (wide + 2 * narrow)
    block.fused = False
    assert saved_bytes(block, x) > 3 * wide + 4 * narrow


def test_the_residual_is_not_kept_where_nothing_folds(block):
    x = torch.randn(1, 64, 40, 40, dtype=torch.float64, requires_grad=True)
    block.train()
    fused = saved_bytes(block, x)
    block.fused = False
    assert saved_bytes(block, x) - fused >= x.nbytes


@pytest.mark.parametrize('anywhere', [False, True])
def test_hooks_see_what_they_wait_for(block, x, anywhere):
    gates = []
    register = register_module_forward_hook if anywhere else block.se.register_forward_hook
    handle = register(lambda module, *_: gates.append(module) if module is block.se else None)
    block(x)
    handle.remove()
    assert len(gates) == 1


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_inference(block, x, mode):
    expected = block(x).detach()
    with mode():
        assert torch.equal(block(x), expected)


@pytest.mark.parametrize('with_cp', [False, True])
def test_checkpointing_changes_no_gradient(block, x, with_cp):
    block.with_cp = with_cp
    leaf = x.clone().requires_grad_()
    block(leaf).square().sum().backward()
    plain = copy.deepcopy(block)
    plain.zero_grad()
    plain.fused = plain.with_cp = False
    other = x.clone().requires_grad_()
    plain(other).square().sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
@pytest.mark.parametrize('kind', [SEBottleneck, SEResNeXtBottleneck, SEBasicBlock])
@pytest.mark.parametrize('on_kernels', [False, True], ids=['torch', 'kernels'])
def test_bfloat16_errors_at_most_double(kernels, monkeypatch, kind, training, on_kernels):
    """Against float64; the median of several blocks, as a gate's ReLU may flip in one of them."""
    if on_kernels:
        monkeypatch.setattr('se_det.layers.kernels._kernels_on', lambda device: kernels)
    ratios = {}
    for seed in range(9):
        torch.manual_seed(seed)
        more = dict(groups=4, base_width=16) if kind is SEResNeXtBottleneck else {}
        block = kind(16 * kind.expansion, 16, reduction=4, **more).train(training)
        _randomise(block)
        plain = copy.deepcopy(block)
        plain.fused = False
        x = torch.randn(2, 16 * kind.expansion, 13, 17).bfloat16()
        exact = _run(copy.deepcopy(plain).double(), x.double())
        with torch.autocast('cpu', torch.bfloat16):
            expected, found = _run(plain, x), _run(block, x)
        for name, value in exact.items():
            errors = [(result[name].double() - value).norm() for result in (found, expected)]
            ratios.setdefault(name, []).append(float(errors[0] / errors[1]))
    assert {name: r for name, r in ratios.items() if statistics.median(r) > 2} == {}


@pytest.mark.parametrize('training', [False, True], ids=['folded', 'lean'])
def test_float16_gradients_overflow_no_sooner(block, training):
    """As loss scaling looks for the largest scale without overflow."""
    block.float().train(training)
    for norm in (block.bn1, block.bn2, block.bn3):
        nn.init.constant_(norm.weight, 0.02)
    nn.init.zeros_(block.bn2.weight[:3].detach())
    plain = copy.deepcopy(block)
    plain.fused = False
    x = torch.rand(1, 64, 40, 40).half()
    for scale in (1, 10, 20, 40, 80, 160, 320):
        results = []
        for twin in (plain, block):
            twin.zero_grad()
            with torch.autocast('cpu', torch.float16):
                loss = twin(x).float().sum() * scale
            loss.backward()
            results.append({name: p.grad for name, p in twin.named_parameters()})
        if not all(gradient.isfinite().all() for gradient in results[0].values()):
            assert scale > 100
            break
        for name, expected in results[0].items():
            assert (results[1][name] - expected).norm() <= 0.05 * expected.norm(), name


def test_transforms_and_graphs_take_the_plain_composition(block, x):
    loss = lambda x: block(x).square().sum()  # noqa: E731
    torch.testing.assert_close(torch.func.grad(loss)(x), _gradient(loss, x))
    torch.testing.assert_close(torch.fx.symbolic_trace(block)(x), block(x))
    torch.testing.assert_close(torch.jit.trace(block, x)(x), block(x))


def _gradient(function, x):
    return torch.autograd.grad(function(leaf := x.clone().requires_grad_()), leaf)[0]


def test_autocast_and_half_models_give_the_precision_of_the_plain_composition(block, x):
    block.float()
    plain = copy.deepcopy(block)
    plain.fused = False
    with torch.autocast('cpu', torch.bfloat16):
        assert block(x.float()).dtype == plain(x.float()).dtype == torch.bfloat16
    half = block.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), plain(x.float()), rtol=0.05, atol=0.05)


@pytest.mark.parametrize('training', [False, True], ids=['folded', 'lean'])
def test_compiled_blocks_agree(block, x, training):
    plain = copy.deepcopy(block.train(training))
    plain.fused = False
    compiled = torch.compile(block, backend='aot_eager', fullgraph=True)
    for name, value in _run(compiled, x).items():
        torch.testing.assert_close(value, _run(plain, x)[name.removeprefix('_orig_mod.')])


@pytest.mark.parametrize(
    ('conv', 'norm', 'allowed'),
    [
        (nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4).eval(), True),
        (nn.Conv2d(4, 4, 1, bias=False), nn.SyncBatchNorm(4).eval(), True),
        (nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), False),
        (nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4).eval(), False),
        (nn.Conv2d(4, 4, 1, bias=False), nn.GroupNorm(2, 4).eval(), False),
        (nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4, affine=False).eval(), False),
        (
            nn.Conv2d(4, 4, 1, bias=False),
            nn.BatchNorm2d(4, track_running_stats=False).eval(),
            False,
        ),
        (nn.Conv2d(4, 4, 3, bias=False, padding_mode='reflect'), nn.BatchNorm2d(4).eval(), False),
        (nn.Conv2d(4, 4, 3, bias=False, padding='same'), nn.BatchNorm2d(4).eval(), False),
        (nn.Conv2d(4, 4, 1, bias=False), BatchNormAct2d(4).eval(), False),
    ],
    ids=str,
)
def test_what_can_be_folded(conv, norm, allowed):
    assert can_fold(conv, norm) == allowed


@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize(
    ('size', 'geometry'),
    [
        (2, dict(kernel_size=3, stride=2, padding=1)),  # not worth folding
        (20, dict(kernel_size=3, stride=2, padding=1)),
        (7, dict(kernel_size=1, stride=(2, 3))),
        (8, dict(kernel_size=1, stride=2, padding=1)),
    ],
    ids=str,
)
def test_folded_convolution_gradcheck(relu, size, geometry):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, groups=2, bias=False, **geometry).double()
    norm = nn.BatchNorm2d(6).double().eval()
    _randomise(norm)
    x = torch.randn(1, 4, size, size, dtype=torch.float64, requires_grad=True)
    expected = norm(conv(x)).relu() if relu else norm(conv(x))
    torch.testing.assert_close(folded_convolution(x, conv, norm, relu), expected)
    inputs = (x, conv.weight, norm.weight, norm.bias)
    assert torch.autograd.gradcheck(lambda *_: folded_convolution(x, conv, norm, relu), inputs)
    channels_last = folded_convolution(x.to(memory_format=torch.channels_last), conv, norm, relu)
    torch.testing.assert_close(channels_last, expected)
    assert channels_last.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('training', [False, True], ids=['folded', 'lean'])
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
def test_blocks_agree_on_the_kernels(
    kernels, monkeypatch, block, x, dtype, channels_last, training
):
    calls = []
    for name in ('scale_add_relu', 'relu_gradient'):
        kernel = getattr(kernels, name)
        monkeypatch.setattr(
            kernels, name, lambda *a, k=kernel, n=name, **kw: calls.append(n) or k(*a, **kw)
        )
    monkeypatch.setattr('se_det.layers.kernels._kernels_on', lambda device: kernels)
    block.to(dtype).train(training)
    x = x.to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    _assert_agree(block, x)
    passes = 1 if training else 3
    assert [calls.count(name) for name in ('scale_add_relu', 'relu_gradient')] == [passes] * 2
