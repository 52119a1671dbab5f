"""Backbones under torch.compile: few graphs for many sizes, and the fused kernels in them."""

import copy
from types import SimpleNamespace

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode

from se_det.backbones import SEResNet, blocks

SIZES = [(64 + 32 * (3 * n % 7), 64 + 32 * (5 * n % 11)) for n in range(20)]
TWO_STAGES = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))


@pytest.fixture(autouse=True)
def dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _images(size):
    x = torch.randn(2, 3, *size)
    x[1, :, size[0] - 20 :] = 0
    x[1, :, :, size[1] - 10 :] = 0
    return x


def _make(depth, se_cfg=(), **options):
    torch.manual_seed(0)
    return SEResNet(depth, base_channels=16, se_cfg=dict(se_cfg), **options)


def _assert_few_graphs(model, sizes, atol=1e-4):
    """At most 3 graphs; with ``fullgraph`` a break or too many compilations would raise."""
    counter = CompileCounterWithBackend('aot_eager')
    compiled = torch.compile(copy.deepcopy(model), backend=counter, fullgraph=True)
    for size in sizes:
        images = _images(size)
        outputs = compiled(images)
        for found, expected in zip(outputs, model(images), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=atol)
        if model.training:
            sum(output.mean() for output in outputs).backward()
    assert counter.frame_count <= 3


@torch.no_grad()
def test_sizes_make_few_graphs():
    model = _make(18, **TWO_STAGES)
    model.eval()
    _assert_few_graphs(model, SIZES[:6])


@pytest.mark.long
@pytest.mark.parametrize('mask_padding', [True, False])
@pytest.mark.parametrize('training', [True, False])
def test_twenty_sizes_make_few_graphs(training, mask_padding):
    model = _make(50, dict(mask_padding=mask_padding))
    model.train(training)
    with torch.set_grad_enabled(training):
        _assert_few_graphs(model, SIZES)


@pytest.fixture
def fused_on_cuda(monkeypatch):
    """Triton compiles for a GPU that is not there; blocks take CUDA's fused tail on a CPU too."""
    compiler = pytest.importorskip('triton.backends.compiler')
    from triton.runtime import driver

    from se_det.layers.tail_cuda import cuda_tail

    target = compiler.GPUTarget('cuda', 90, 32)
    monkeypatch.setattr(
        driver, '_active', SimpleNamespace(get_current_target=lambda: target), raising=False
    )
    monkeypatch.setattr(blocks, 'fuses', lambda block, v: True)
    monkeypatch.setattr(blocks, 'gated_tail', cuda_tail)


def _without_values(model, fake):
    """The same model with fake tensors, of which only sizes and strides are known."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module._parameters[name] = nn.Parameter(fake.from_tensor(parameter.detach()))
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = fake.from_tensor(buffer)
    return model


@pytest.mark.long
@pytest.mark.parametrize('mask_padding', [True, False])
def test_the_kernels_of_a_fused_tail_are_in_the_graph(mask_padding, fused_on_cuda):
    """Four in forward, four in backward, for each block."""
    found = dict(forward=[], backward=[])

    def count(which):
        def compiler(graph, inputs):
            kernels = [node for node in graph.graph.nodes if 'triton' in str(node.target)]
            found[which].append(len(kernels))
            return make_boxed_func(graph.forward)

        return compiler

    model = _make(18, dict(mask_padding=mask_padding), **TWO_STAGES)
    fake = FakeTensorMode()
    model = _without_values(model, fake)
    backend = aot_autograd(fw_compiler=count('forward'), bw_compiler=count('backward'))
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    with fake:
        for size in SIZES[:3]:
            sum(x.sum() for x in compiled(torch.empty(2, 3, *size))).backward()
    assert found['forward'] == found['backward'] == [4 * 4] * len(found['forward'])
    assert len(found['forward']) <= 2
