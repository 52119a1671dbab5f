"""Grafting: add SE to the weights of a plain ResNet without changing the function it computes.

``fc2`` of each SE block is zero, so that its gate is sigmoid(0) = 1/2 for every image. The weight
and bias of the last norm in each residual branch are doubled. Multiplying a float by a power of two
is exact, so that the outputs equal the plain model's bit for bit. Gradients reach ``fc2``, and
after one step ``fc1``: training continues from the plain model.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from se_det.checkpoints.architecture import blocks
from se_det.checkpoints.layouts import StateDict
from se_det.errors import UsageError


def graft(weights: StateDict, hidden_channels: Mapping[str, int]) -> StateDict:
    """Add SE blocks to the weights of a plain backbone.

    Args:
        weights: of a plain ResNet or ResNeXt, with our keys.
        hidden_channels: outputs of ``fc1`` for each residual block that gets SE, such as
            ``{'layer1.0': 16}``: the block's output channels divided by the reduction.

    Returns:
        The weights of the SE backbone. ``fc1`` is random (He et al., arXiv 1502.01852) with a fixed
        seed.

    Raises:
        UsageError: a block of ``hidden_channels`` is missing, or has no norm with weight and bias.
    """
    generator = torch.Generator().manual_seed(0)
    grafted = dict(weights)
    for block, hidden in hidden_channels.items():
        norm = _last_norm(weights, block)
        weight = weights[f'{norm}.weight']
        channels = len(weight)
        grafted[f'{norm}.weight'] = 2 * weight
        grafted[f'{norm}.bias'] = 2 * weights[f'{norm}.bias']
        random = torch.randn(hidden, channels, 1, 1, generator=generator)
        grafted[f'{block}.se.fc1.weight'] = (random * math.sqrt(2 / channels)).to(weight.dtype)
        grafted[f'{block}.se.fc1.bias'] = weight.new_zeros(hidden)
        grafted[f'{block}.se.fc2.weight'] = weight.new_zeros(channels, hidden, 1, 1)
        grafted[f'{block}.se.fc2.bias'] = weight.new_zeros(channels)
    return grafted


def check_graftable(backbone: Mapping[str, Any]) -> None:
    """Check that no layer comes between the last norm of a block and its SE.

    Args:
        backbone: the config of an SEResNet or SEResNeXt.

    Raises:
        UsageError: a ReLU or a plugin comes between; its output would change.
    """
    positions = [plugin['position'] for plugin in backbone.get('plugins') or ()]
    se_cfg = backbone.get('se_cfg') or {}
    if se_cfg.get('relu_before_se') or 'after_conv3' in positions:
        raise UsageError(
            'SE cannot be grafted after a ReLU or a plugin: the doubled norm would change their '
            'output. Remove relu_before_se from se_cfg, and plugins at after_conv3.'
        )


def hidden_channels_of_all(weights: StateDict, reduction: int) -> dict[str, int]:
    """``hidden_channels`` of `graft` for SE in every block of a plain backbone."""
    return {
        block: len(weights[f'{_last_norm(weights, block)}.weight']) // reduction
        for block in blocks(weights)
    }


def hidden_channels_like(expected: StateDict) -> dict[str, int]:
    """``hidden_channels`` of `graft` for the blocks that have SE in a state dict."""
    fc1 = '.se.fc1.weight'
    return {key.removesuffix(fc1): len(w) for key, w in expected.items() if key.endswith(fc1)}


def _last_norm(weights: StateDict, block: str) -> str:
    for name in ('bn3', 'gn3', 'bn2', 'gn2'):
        if f'{block}.{name}.bias' in weights:
            return f'{block}.{name}'
    raise UsageError(
        f'SE cannot be grafted to {block}: it has no norm (bn3, gn3, bn2 or gn2) with weight and '
        'bias. Expected the weights of a ResNet or ResNeXt of the same depth as the backbone.'
    )
