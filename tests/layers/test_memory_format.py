"""Where channels lie: last within a backbone on a CPU, first for those who use its maps."""

import copy
import importlib

import pytest
import torch
from mmdet.models.backbones import ResNet
from torch import nn

from se_det.analysis.benchmark import saved_bytes
from se_det.backbones import SEResNet, SEResNeXt
from se_det.layers import folded_convolution
from se_det.layers.memory_format import better_last, channels_last, contiguous_output, lies_last

WIDTHS = dict(base_channels=16, frozen_stages=1, norm_eval=True)


def test_a_contiguous_copy_and_its_gradient():
    x = channels_last(torch.randn(2, 3, 4, 5)).requires_grad_()
    first = contiguous_output(x, folded=True)
    assert first.is_contiguous()
    assert torch.equal(first, x)
    gradient = torch.randn(2, 3, 4, 5)
    (found,) = torch.autograd.grad(first, x, gradient)
    assert torch.equal(found, gradient)
    assert lies_last(found)
    assert contiguous_output(first, folded=True).data_ptr() == first.data_ptr()
    assert contiguous_output(first, folded=False) is first


def test_large_maps_lie_last_and_small_ones_as_they_are():
    assert better_last(torch.empty(1, 64, 30, 30), inputs=64)
    assert not better_last(torch.empty(1, 64, 10, 10), inputs=64)
    assert better_last(torch.empty(9, 64, 10, 10), inputs=64)


@pytest.mark.parametrize('needed', [False, True], ids=['frozen before', 'trained before'])
def test_a_projection_reads_a_large_contiguous_map_as_it_lies(monkeypatch, needed):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 1, bias=False).double()
    norm = nn.BatchNorm2d(6).double().eval()
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.running_mean)
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64, requires_grad=needed)
    expected = norm(conv(x)).relu()
    copies = []
    module = importlib.import_module('se_det.layers.folded_convolution')
    monkeypatch.setattr(module, 'channels_last', copies.append)
    found = folded_convolution(x, conv, norm, relu=True)
    assert lies_last(found)
    torch.testing.assert_close(found, expected)
    inputs = [tensor for tensor in (x, conv.weight, *norm.parameters()) if tensor.requires_grad]
    weights = channels_last(torch.randn_like(expected))
    gradients = torch.autograd.grad((found * weights).sum(), inputs)
    for gradient, plain in zip(
        gradients, torch.autograd.grad((expected * weights).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(gradient, plain)
    assert lies_last(gradients[0]) or not needed
    assert not copies


@pytest.mark.parametrize(
    ('backbone', 'options'),
    [
        (SEResNet, dict(depth=50)),
        (SEResNet, dict(depth=50, style='caffe')),
        (SEResNet, dict(depth=50, deep_stem=True, avg_down=True)),
        (SEResNet, dict(depth=50, se_cfg=dict(stages=(True, False, True, True)))),
        (SEResNet, dict(depth=50, dcn=dict(type='DCN'), stage_with_dcn=(False, True, True, True))),
        (SEResNet, dict(depth=18)),
        (SEResNeXt, dict(depth=50, groups=4, base_width=16)),
    ],
    ids=str,
)
@pytest.mark.parametrize('channels_last', [False, True], ids=['first', 'last'])
def test_whole_backbones_agree_with_the_plain_composition(backbone, options, channels_last):
    torch.manual_seed(0)
    fused = backbone(**options, **WIDTHS).double()
    fused.init_weights()
    for module in fused.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 0.6)
    fused.train()
    plain = copy.deepcopy(fused)
    for module in plain.modules():
        if hasattr(module, 'fused'):
            module.fused = False
    images = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    weights = [torch.randn_like(x) for x in plain(images)]
    results = []
    for model in (fused, plain):
        maps = model(images)
        sum((x * w).sum() for x, w in zip(maps, weights, strict=True)).backward()
        results.append((maps, {name: p.grad for name, p in model.named_parameters()}))
    (maps, gradients), (plain_maps, plain_gradients) = results
    for found, expected in zip(maps, plain_maps, strict=True):
        assert found.is_contiguous()
        assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    for name, expected in plain_gradients.items():
        found = gradients[name]
        assert (found is None) == (expected is None), name
        if expected is not None:
            assert (found - expected).norm() <= 1e-9 * expected.norm().clamp(min=1e-6), name


@pytest.mark.parametrize('dcn', ['DCN', 'DCNv2'])
@pytest.mark.parametrize('frozen_stages', [-1, 1])
@pytest.mark.parametrize('grad', [False, True], ids=['no_grad', 'training'])
def test_compiled_operators_get_contiguous_maps(dcn, frozen_stages, grad):
    options = dict(WIDTHS, frozen_stages=frozen_stages)
    dcn_cfg = dict(type=dcn, deform_groups=1)
    model = SEResNet(50, dcn=dcn_cfg, stage_with_dcn=(False, True, True, True), **options)
    model.train()
    read = []
    for module in model.modules():
        if hasattr(module, 'conv_offset'):
            module.conv_offset.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    with torch.set_grad_enabled(grad):
        model(torch.randn(1, 3, 128, 160))
    assert len(read) == 13
    assert all(x.is_contiguous() for x in read)


def test_transforms_and_graphs_of_whole_backbones():
    model = SEResNet(50, **WIDTHS).double()
    model.eval()
    images = channels_last(torch.randn(1, 3, 64, 96, dtype=torch.float64))
    expected = model(images)
    for transformed in (torch.jit.trace(model, images), torch.fx.symbolic_trace(model)):
        torch.testing.assert_close(transformed(images), expected)
    loss = lambda x: sum(y.square().mean() for y in model(x))  # noqa: E731
    (gradient,) = torch.autograd.grad(loss(images.requires_grad_()), images)
    torch.testing.assert_close(torch.func.grad(loss)(images.detach()), gradient)


@pytest.mark.parametrize(('batch', 'size'), [(1, (256, 416)), (2, (256, 416)), (1, (200, 336))])
def test_a_backbone_keeps_55_percent_of_plain(batch, size):
    images = torch.randn(batch, 3, *size)
    options = dict(depth=50, base_channels=16, frozen_stages=1, norm_eval=True)
    kept = {}
    for kind in (SEResNet, ResNet):
        model = kind(**options)
        model.train()
        kept[kind] = saved_bytes(_Sum(model), images)
    assert kept[SEResNet] <= 0.55 * kept[ResNet]


class _Sum(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, images):
        return sum(x.square().mean() for x in self.backbone(images))
