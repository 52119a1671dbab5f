"""Grafting: add SE to the weights of a plain backbone without changing the function it computes.

``fc2`` of each SE block is zero, so that its gate is sigmoid(0) = 1/2 for every image. The weight
and bias of the last norm in each residual branch are doubled. Multiplying a float by a power of two
is exact, so that the outputs equal the plain model's bit for bit. Gradients reach ``fc2``, and
after one step ``fc1``: training continues from the plain model.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from se_det.checkpoints.architecture import blocks
from se_det.checkpoints.state_dicts import StateDict
from se_det.errors import UsageError


def graft(weights: StateDict, hidden_channels: Mapping[str, int]) -> StateDict:
    """Add SE blocks to the weights of a plain backbone.

    Args:
        weights: of a plain ResNet or ResNeXt, with our keys.
        hidden_channels: outputs of ``fc1`` for each residual block that gets SE, such as
            ``{'layer1.0': 16}``.

    Returns:
        The weights of the SE backbone. ``fc1`` is random (He et al., arXiv 1502.01852) with a fixed
        seed.

    Raises:
        UsageError: a block of ``hidden_channels`` is missing, or has no norm with weight and bias.
    """
    norms = {block: _last_norm(weights, block) for block in hidden_channels}
    shapes = {}
    for block, hidden in hidden_channels.items():
        channels = len(weights[f'{norms[block]}.weight'])
        shapes[f'{block}.se.fc1.weight'] = hidden, channels, 1, 1
        shapes[f'{block}.se.fc1.bias'] = (hidden,)
        shapes[f'{block}.se.fc2.weight'] = channels, hidden, 1, 1
        shapes[f'{block}.se.fc2.bias'] = (channels,)
    return _graft(weights, list(norms.values()), shapes)


def graft_into(backbone: nn.Module, weights: StateDict) -> StateDict:
    """Add SE, or another attention, to the plain weights of a backbone.

    Args:
        backbone: an SEBackbone, for which `check_graftable` passes.
        weights: of its plain twin, with its keys.

    Returns:
        The weights of ``backbone``. All of the attention is zero but ``fc1``, as in `graft`.

    Raises:
        UsageError: no stage has SE, or a norm before SE is missing or has no weight and bias.
    """
    slots = backbone.layers_before_se
    if not slots:
        raise UsageError('No stage has SE, so that none can be grafted. Change stages in se_cfg.')
    if missing := [norm for norm in slots.values() if f'{norm}.bias' not in weights]:
        raise UsageError(
            f'SE cannot be grafted: the file has no norm {missing[0]} with weight and bias. '
            f'Expected the weights of a {type(backbone).__name__} without SE.'
        )
    shapes = {
        key: tensor.shape
        for key, tensor in backbone.state_dict().items()
        if key.startswith(tuple(f'{se}.' for se in slots))
    }
    return _graft(weights, list(slots.values()), shapes)


def _graft(
    weights: StateDict, norms: Iterable[str], shapes: Mapping[str, Sequence[int]]
) -> StateDict:
    """Double norms and add tensors of zeros, but for a random ``fc1.weight``."""
    generator = torch.Generator().manual_seed(0)
    grafted = dict(weights)
    for norm in norms:
        for part in ('weight', 'bias'):
            grafted[f'{norm}.{part}'] = 2 * weights[f'{norm}.{part}']
    like = grafted[f'{norm}.weight']
    for key, shape in shapes.items():
        grafted[key] = like.new_zeros(*shape)
        if key.endswith('.fc1.weight'):
            random = torch.randn(*shape, generator=generator)
            grafted[key] = (random * math.sqrt(2 / shape[1])).to(like.dtype)
    return grafted


def check_graftable(backbone: Mapping[str, Any]) -> None:
    """Check that the last norm of a block can undo the gates that SE starts with.

    Args:
        backbone: the config of an SE backbone.

    Raises:
        UsageError: a ReLU or a plugin comes between, whose output would change; or the gate does
            not start at 1/2.
    """
    positions = [plugin['position'] for plugin in backbone.get('plugins') or ()]
    se_cfg = backbone.get('se_cfg') or {}
    if se_cfg.get('position', 'standard') != 'standard':
        raise UsageError(
            f'SE cannot be grafted at position={se_cfg["position"]!r}: nothing there undoes a gate '
            "of 1/2. Graft at position='standard'."
        )
    if se_cfg.get('gate', 'sigmoid') != 'sigmoid' or se_cfg.get('type', 'SE') in ('CBAM', 'GC'):
        raise UsageError(
            'Grafting needs a gate that starts at 1/2. Use the gate sigmoid, and the types SE, ECA '
            'or eSE.'
        )
    if se_cfg.get('relu_before_se') or 'after_conv3' in positions:
        raise UsageError(
            'SE cannot be grafted after a ReLU or a plugin: the doubled norm would change their '
            'output. Remove relu_before_se from se_cfg, and plugins at after_conv3.'
        )


def hidden_channels_of_all(weights: StateDict, reduction: int) -> dict[str, int]:
    """``hidden_channels`` of `graft` for SE in every block of a plain backbone."""
    return {
        block: -(-len(weights[f'{_last_norm(weights, block)}.weight']) // reduction)
        for block in blocks(weights)
    }


def _last_norm(weights: StateDict, block: str) -> str:
    for name in ('bn3', 'gn3', 'bn2', 'gn2'):
        if f'{block}.{name}.bias' in weights:
            return f'{block}.{name}'
    raise UsageError(
        f'SE cannot be grafted to {block}: it has no norm (bn3, gn3, bn2 or gn2) with weight and '
        'bias. Expected the weights of a ResNet or ResNeXt of the same depth as the backbone.'
    )
