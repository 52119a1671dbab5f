"""What only a GPU shows."""

import copy

import pytest
import torch

from se_det.backbones import SEResNet

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='not run: the fused backbone on CUDA, as there is no GPU'
)


@pytest.fixture(autouse=True)
def whole_float32(monkeypatch):
    """Convolutions without TF32, which is off by 1e-3, in an order of sums that does not change."""
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    monkeypatch.setattr(torch.backends.cudnn, 'deterministic', True)


@pytest.fixture
def fused():
    torch.manual_seed(0)
    model = SEResNet(50, se_cfg=dict(fused=True), frozen_stages=1, norm_eval=True).cuda()
    model.train()
    return model


@pytest.fixture
def plain(fused):
    return SEResNet(50, se_cfg=dict(fused=False), frozen_stages=1, norm_eval=True).cuda()


@pytest.fixture
def images():
    return torch.randn(2, 3, 160, 224, device='cuda')


def _gradients(model, images, precision):
    model.zero_grad()
    with torch.autocast('cuda', precision, enabled=precision is not torch.float32):
        outputs = model(images)
    sum(x.float().square().mean() for x in outputs).backward()
    return [*outputs, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize('channels_last', [False, True])
def test_half_precision_errors_at_most_double(fused, plain, images, channels_last):
    plain.load_state_dict(fused.state_dict())
    plain.train()
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    exact = _gradients(copy.deepcopy(plain).double(), images.double(), torch.float32)
    for precision in (torch.float16, torch.bfloat16):
        found, expected = (_gradients(model, images, precision) for model in (fused, plain))
        for ours, theirs, value in zip(found, expected, exact, strict=True):
            errors = [(x - value).norm() / value.norm().clamp(min=1e-9) for x in (ours, theirs)]
            assert errors[0] <= 2 * errors[1] + 0.02


def test_a_captured_graph_computes_the_same(fused, images):
    fused.eval()
    with torch.inference_mode():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            expected = fused(images)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = fused(images)
        graph.replay()
    for a, b in zip(captured, expected, strict=True):  # captured, layer by layer
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_training_step_in_a_graph(fused, images):
    eager = copy.deepcopy(fused)
    graphed = torch.cuda.make_graphed_callables(fused, (images,))
    found, expected = (_gradients(model, images, torch.float32) for model in (graphed, eager))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.long
def test_compiled(fused, images):
    compiled = torch.compile(copy.deepcopy(fused))
    found, expected = (_gradients(model, images, torch.float32) for model in (compiled, fused))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)
