"""Weights are in channels_last on a CPU, and stay so; who needs contiguous maps gets them."""

import copy
import sys

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch import nn

from se_det.backbones import SEResNet, SEResNeXt

SMALL = dict(depth=50, base_channels=16, frozen_stages=1, norm_eval=True)


def _is_channels_last(x):
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _all_channels_last(model):
    weights = [p for p in model.parameters() if p.dim() == 4 and p.shape[2] > 1]
    return all(map(_is_channels_last, weights)) and len(weights) > 10


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = SEResNet(**SMALL)
    model.init_weights()
    model.train()
    return model


def test_weights_are_channels_last_from_construction_on(model, tmp_path):
    assert _all_channels_last(model)
    assert _all_channels_last(copy.deepcopy(model))
    assert _all_channels_last(ExponentialMovingAverage(model).module)
    contiguous = {name: x.contiguous() for name, x in model.state_dict().items()}
    torch.save(contiguous, tmp_path / 'weights.pth')
    other = SEResNet(**SMALL)
    other.load_state_dict(torch.load(tmp_path / 'weights.pth'))
    assert _all_channels_last(other)
    assert _all_channels_last(model.double())
    images = torch.randn(1, 3, 64, 64)
    other.train()
    for mine, theirs in zip(model.float()(images), other(images), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_gradients_and_optimizer_states_have_the_memory_format_of_the_weights(model):
    optimizer = torch.optim.AdamW(model.parameters())
    sum(x.square().mean() for x in model(torch.randn(1, 3, 64, 64))).backward()
    optimizer.step()
    weight = model.layer3[0].conv2.weight
    assert _is_channels_last(weight.grad)
    assert _is_channels_last(optimizer.state[weight]['exp_avg'])


def test_off_the_cpu_weights_are_contiguous(model):
    model.to('meta')
    assert all(p.is_contiguous() for p in model.parameters())
    assert _all_channels_last(model.to_empty(device='cpu'))


def test_a_backbone_without_parameters_can_be_moved(model):
    for module in model.modules():
        module._parameters.clear()
    assert model.float() is model


def test_a_memory_format_that_is_set_is_kept(model):
    model.to(memory_format=torch.contiguous_format)
    assert model.layer3[0].conv2.weight.is_contiguous()
    model.double()
    assert model.layer3[0].conv2.weight.is_contiguous()


@pytest.mark.parametrize('channels_last', [False, True])
def test_maps_are_channels_last_unless_mmcv_is_compiled(model, channels_last, monkeypatch):
    images = torch.randn(2, 3, 64, 96)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    expected = model(images)
    assert all(map(_is_channels_last, expected[:-1]))
    assert expected[-1].is_contiguous()
    monkeypatch.setitem(sys.modules, 'mmcv._ext', object())
    found = model(images)
    assert all(x.is_contiguous() for x in found)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('dcn', ['DCN', 'DCNv2'])
@pytest.mark.parametrize('channels_last', [False, True])
def test_compiled_operators_within_get_contiguous_maps(dcn, channels_last):
    dcn_cfg = dict(type=dcn, deform_groups=1)
    model = SEResNet(**SMALL, dcn=dcn_cfg, stage_with_dcn=(False, True, True, True))
    read = []
    for module in model.modules():
        if hasattr(module, 'conv_offset'):
            module.conv_offset.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    images = torch.randn(1, 3, 128, 160)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    model(images)
    assert len(read) == 13
    assert all(x.is_contiguous() for x in read)


@pytest.mark.parametrize(
    ('backbone', 'options'),
    [
        (SEResNet, dict(depth=50)),
        (SEResNet, dict(depth=50, style='caffe')),
        (SEResNet, dict(depth=50, deep_stem=True, avg_down=True)),
        (SEResNet, dict(depth=50, se_cfg=dict(stages=(True, False, True, True)))),
        (SEResNet, dict(depth=50, dcn=dict(type='DCN'), stage_with_dcn=(False, True, True, True))),
        (SEResNet, dict(depth=50, norm_eval=False, frozen_stages=-1)),
        (SEResNet, dict(depth=18)),
        (SEResNeXt, dict(depth=50, groups=4, base_width=16)),
    ],
    ids=str,
)
def test_whole_backbones_agree_with_the_plain_composition(backbone, options):
    torch.manual_seed(0)
    fused = backbone(**{**SMALL, **options}).double()
    fused.init_weights()
    for module in fused.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 0.6)
    fused.train()
    plain = copy.deepcopy(fused)
    plain.fused = False
    images = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    weights = [torch.randn_like(x) for x in plain(images)]
    results = []
    for model in (fused, copy.deepcopy(plain)):
        maps = model(images)
        sum((x * w).sum() for x, w in zip(maps, weights, strict=True)).backward()
        results.append((maps, {name: p.grad for name, p in model.named_parameters()}))
    (maps, gradients), (plain_maps, plain_gradients) = results
    for found, expected in zip(maps, plain_maps, strict=True):
        assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    for name, expected in plain_gradients.items():
        found = gradients[name]
        assert (found is None) == (expected is None), name
        if expected is not None:
            assert (found - expected).norm() <= 1e-9 * expected.norm().clamp(min=1e-6), name


def test_transforms_and_graphs_of_whole_backbones():
    model = SEResNet(**SMALL).double()
    model.eval()
    images = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    expected = model(images)
    for transformed in (torch.jit.trace(model, images), torch.fx.symbolic_trace(model)):
        torch.testing.assert_close(transformed(images), expected)
    loss = lambda x: sum(y.square().mean() for y in model(x))  # noqa: E731
    (gradient,) = torch.autograd.grad(loss(images.requires_grad_()), images)
    torch.testing.assert_close(torch.func.grad(loss)(images.detach()), gradient)


def test_fused_can_be_switched_after_construction(model):
    images = torch.randn(1, 3, 64, 96)
    calls = []
    model.layer4[0].before_last_norm = lambda x: (
        calls.append(1) or type(model.layer4[0]).before_last_norm(model.layer4[0], x)
    )
    model.fused = False
    assert all(block.fused is False for block in model.layer3)
    model(images)
    assert calls
    assert SEResNet(**SMALL, se_cfg=dict(fused=False)).layer1[0].fused is False
    assert SEResNet(**SMALL).layer1[0].fused is None
