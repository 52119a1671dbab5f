"""A fused tail computes what the parts of a block compute, whatever these are."""

import copy
import sys
from itertools import product
from unittest import mock

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from se_det.backbones import SEBasicBlock, SEBottleneck, fusing
from se_det.backbones.fusing import fuses
from tools.dev.peers.timing import saved_bytes

from .fused_blocks import KINDS, PLANES, assert_agree, make_random, run_block


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
    block = make_random(kind, in_channels, training, **options).to(dtype)
    x = torch.randn(batch, in_channels or PLANES * kind.expansion, *size, dtype=dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
        block.to(memory_format=torch.channels_last)
    assert_agree(block, x)


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
    block = make_random(SEBottleneck, training=training, **options).double()
    assert_agree(block, torch.randn(2, 32, 9, 11, dtype=torch.float64))


@pytest.fixture
def block():
    torch.manual_seed(0)
    return make_random(SEBottleneck).double()


@pytest.fixture
def x():
    return torch.randn(2, 32, 12, 10, dtype=torch.float64)


def test_when_a_tail_is_fused(block, x, monkeypatch):
    v = block.before_last_norm(x)
    for training in (True, False):
        assert fuses(block.train(training), v)
        assert not fuses(block, v.float())
    assert fuses(make_random(SEBasicBlock), torch.randn(2, 8, 12, 10))
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


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize('kind', KINDS)
def test_inference(kind, mode):
    block, x = (
        make_random(kind).double(),
        torch.randn(2, 8 * kind.expansion, 9, 9, dtype=torch.float64),
    )
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
    for name, value in run_block(compiled, x).items():
        torch.testing.assert_close(value, run_block(plain, x)[name.removeprefix('_orig_mod.')])


def test_an_exported_block_takes_other_sizes(block, x):
    sizes = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    exported = torch.export.export(block, (x,), dynamic_shapes=(sizes,)).module()
    smaller = x[..., :5, :4].contiguous()
    torch.testing.assert_close(exported(smaller), block(smaller))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('kind', KINDS)
def test_half_precision_is_computed_layer_by_layer(kind, dtype):
    block = make_random(kind)
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
