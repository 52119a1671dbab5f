"""A plain ResNet's weights as those of its SE twin, which computes the same function.

The gates get an ``fc2`` of zeros, which makes them sigmoid(0) = 1/2 whatever the image; the weight
and bias of the last norm of each block are doubled. Powers of two change no digit of a float, so
that the twin's outputs are the plain model's to the last bit. Gradients reach ``fc2``, and from it,
after one step, ``fc1``: training starts where the plain model ended.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from se_det.checkpoints.architecture import blocks
from se_det.checkpoints.layouts import StateDict
from se_det.errors import UsageError


def graft(weights: StateDict, hidden_channels: Mapping[str, int]) -> StateDict:
    """Give a plain backbone's weights SE blocks that do nothing yet.

    Args:
        weights: of a plain ResNet or ResNeXt, with our keys.
        hidden_channels: of the SE block of each residual block that is to have one, such as
            ``{'layer1.0': 16}``: its output channels divided by the reduction.

    Returns:
        All weights of the SE twin. ``fc1`` is random (He et al., arXiv 1502.01852), the same each
        time.

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
    """Check that nothing in a backbone's blocks stands between the last norm and SE.

    Args:
        backbone: the config of an SEResNet or SEResNeXt.

    Raises:
        UsageError: a ReLU or a plugin stands there, and what they compute would change.
    """
    positions = [plugin['position'] for plugin in backbone.get('plugins') or ()]
    se_cfg = backbone.get('se_cfg') or {}
    if se_cfg.get('relu_before_se') or 'after_conv3' in positions:
        raise UsageError(
            'SE cannot be grafted behind a ReLU or a plugin: the doubled norm would change what '
            'they compute. Remove relu_before_se from se_cfg, and plugins at after_conv3.'
        )


def hidden_channels_of_all(weights: StateDict, reduction: int) -> dict[str, int]:
    """The ``hidden_channels`` of `graft` for SE in each block of a plain backbone."""
    return {
        block: len(weights[f'{_last_norm(weights, block)}.weight']) // reduction
        for block in blocks(weights)
    }


def hidden_channels_like(expected: StateDict) -> dict[str, int]:
    """The ``hidden_channels`` of `graft` for the SE blocks of a backbone with these weights."""
    fc1 = '.se.fc1.weight'
    return {key.removesuffix(fc1): len(w) for key, w in expected.items() if key.endswith(fc1)}


def _last_norm(weights: StateDict, block: str) -> str:
    for name in ('bn3', 'gn3', 'bn2', 'gn2'):
        if f'{block}.{name}.bias' in weights:
            return f'{block}.{name}'
    raise UsageError(
        f'Nothing to graft SE to at {block}: it has no norm (bn3, gn3, bn2 or gn2) with weight and '
        'bias. Expected the weights of a ResNet or ResNeXt as deep as the backbone.'
    )
