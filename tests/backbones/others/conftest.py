"""What the tests of MMDetection's other backbones with SE share."""

import copy

import pytest
import torch
from mmdet.models.backbones import Darknet
from mmdet.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from se_det.layers import ChannelAttention

HRNET = {
    f'stage{n}': dict(
        num_modules=1,
        num_branches=n,
        block='BASIC' if n > 1 else 'BOTTLENECK',
        num_blocks=(1,) * n,
        num_channels=(18, 36, 72, 144)[:n] if n > 1 else (16,),
    )
    for n in (1, 2, 3, 4)
}
TRIDENT = dict(
    depth=50,
    num_branch=3,
    test_branch_idx=1,
    trident_dilations=(1, 2, 3),
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(2,),
    base_channels=16,
)
VGG = dict(
    depth=11, with_last_pool=False, out_indices=(3, 4), out_feature_indices=(14, 24), ceil_mode=True
)
HOURGLASS = dict(
    downsample_times=2, stage_channels=(16, 24, 32), stage_blocks=(1, 1, 1), feat_channel=16
)

# Arguments, and the strides of the maps that SE scales.
CASES = {
    'CSPDarknet': (dict(deepen_factor=0.33, widen_factor=0.25), {4, 8, 16, 32}),
    'Darknet': (dict(), {2, 4, 8, 16, 32}),
    'DetectoRS_ResNeXt': (dict(depth=50, groups=4, base_width=4, base_channels=16), {4, 8, 16, 32}),
    'DetectoRS_ResNet': (dict(depth=50, base_channels=16), {4, 8, 16, 32}),
    'HRNet': (dict(extra=HRNET), {4, 8, 16, 32}),
    'HourglassNet': (HOURGLASS, {4, 8, 16}),
    'MobileNetV2': (dict(widen_factor=0.5), {2, 4, 8, 16, 32}),
    'RegNet': (dict(arch='regnetx_400mf'), {4, 8, 16, 32}),
    'Res2Net': (dict(depth=50, base_channels=16, base_width=8), {4, 8, 16, 32}),
    'SSDVGG': (VGG, {1, 2, 4, 8, 16}),
    'TridentResNet': (TRIDENT, {4, 8, 16}),
}

SIZE = 64, 96


@pytest.fixture(autouse=True)
def small_darknet(monkeypatch):
    """MMDetection's Darknet has no argument for its width and its depth."""
    channels = (32, 16), (16, 32), (32, 48), (48, 64), (64, 128)
    monkeypatch.setattr(Darknet, 'arch_settings', {53: ((1, 2, 2, 2, 1), channels)})


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture
def images():
    """Two images, of which the second is padded; ``(2, 3, 64, 96)`` float64."""
    x = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[1, :, 50:] = 0
    x[1, :, :, 75:] = 0
    return x


def arguments(name, **options):
    """The config of a small backbone with SE."""
    return dict(type=f'mmdet.SE{name}', **copy.deepcopy(CASES[name][0]), **options)


def make(name, **options):
    """The plain backbone and that with SE, with the same random weights, in float64."""
    torch.manual_seed(0)
    plain = MODELS.build(dict(arguments(name), type=f'mmdet.{name}')).double()
    ours = MODELS.build(arguments(name, **options)).double()
    for module in plain.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif type(module).__name__ == 'TridentConv':  # MMDetection leaves its weight uninitialised
            nn.init.kaiming_normal_(module.weight)
    missing, unexpected = ours.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all('.se.' in key for key in missing)
    plain.eval()  # returns None in MMDetection's backbones
    ours.eval()
    return plain, ours


def attentions(backbone):
    return [module for module in backbone.modules() if isinstance(module, ChannelAttention)]


def assert_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max()
