"""Blocks with random norms, run with a fused tail and layer by layer."""

import copy

import torch
from torch import nn

from se_det.backbones import SEBasicBlock, SEBottleneck, SEResNeXtBottleneck

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


def make_random(kind, in_channels=None, training=False, **options):
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


def run_block(block, x):
    """The output, and the gradients of the input and of all parameters."""
    block.zero_grad()
    leaf = x.clone().requires_grad_()
    y = block(leaf)
    (y * torch.linspace(-1, 1, y.numel(), dtype=x.dtype).view_as(y)).sum().backward()
    assert torch.equal(leaf, x)
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    return {'y': y.detach(), 'x': leaf.grad, **gradients}


def assert_agree(block, x):
    """Outputs, gradients and statistics with and without a fused tail."""
    plain, ours = copy.deepcopy(block), copy.deepcopy(block)
    plain.fused = False
    expected, found = run_block(plain, x), run_block(ours, x)
    for buffer, theirs in zip(ours.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, theirs)
    output_tolerance, gradient_tolerance = TOLERANCE[x.dtype]
    for name, value in expected.items():
        if value is None or not value.numel():
            assert name not in found or found[name] is None or not found[name].numel()
            continue
        tolerance = output_tolerance if name == 'y' else gradient_tolerance
        assert (found[name] - value).abs().max() <= tolerance * max(1e-3, value.abs().max()), name
