"""Grafting: add SE to the weights of a plain backbone without changing the function it computes.

``fc2`` of each SE block is zero, so that its gate is sigmoid(0) = 1/2 for every image. The weight
and bias of the last norm in each residual branch are doubled. Multiplying a float by a power of two
is exact, so that the outputs equal the plain model's bit for bit. Gradients reach ``fc2``, and
after one step ``fc1``: training continues from the plain model.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from se_det.checkpoints.state_dicts import StateDict
from se_det.errors import UsageError


def graft_into(backbone: nn.Module, weights: StateDict) -> StateDict:
    """Add SE, or another attention, to the plain weights of a backbone.

    Args:
        backbone: an SEBackbone, for which `check_graftable` passes.
        weights: of its plain twin, with its keys.

    Returns:
        The weights of ``backbone``. All of the attention is zero but ``fc1.weight``, which is
        random (He et al., arXiv 1502.01852) with a fixed seed.

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
    generator = torch.Generator().manual_seed(0)
    grafted = dict(weights)
    for norm in slots.values():
        for part in ('weight', 'bias'):
            grafted[f'{norm}.{part}'] = 2 * weights[f'{norm}.{part}']
    like = grafted[f'{norm}.weight']
    for key, tensor in backbone.state_dict().items():
        if key.startswith(tuple(f'{se}.' for se in slots)):
            grafted[key] = like.new_zeros(tensor.shape)
            if key.endswith('.fc1.weight'):
                random = torch.randn(tensor.shape, generator=generator)
                grafted[key] = (random * math.sqrt(2 / tensor.shape[1])).to(like.dtype)
    return grafted


def check_plain_or_se(has_se: bool, graft: bool, source: str) -> None:
    """Check that weights have SE, or that SE is grafted to them.

    Args:
        has_se: whether they have SE.
        graft: whether SE is to be grafted to them.
        source: name of the weights in error messages.

    Raises:
        UsageError: neither, or both.
    """
    if graft and has_se:
        raise UsageError(f'{source} has SE already. Remove graft=True.')
    if not graft and not has_se:
        raise UsageError(
            f'{source} has the weights of a plain backbone, without SE. To start from them, with '
            'SE that leaves the outputs as they are at first, add graft=True to '
            "dict(type='SEPretrained', ...)."
        )


def check_graftable(backbone: Mapping[str, Any]) -> None:
    """Check that the last norm of a block can undo the gates that SE starts with.

    Args:
        backbone: the config of an SE backbone.

    Raises:
        UsageError: a ReLU or a plugin comes between, whose output would change; or the gate does
            not start at 1/2.
    """
    se_cfg = backbone.get('se_cfg') or {}
    wanted = dict(position='standard', gate='sigmoid', relu_before_se=False)
    found = {key: se_cfg[key] for key, value in wanted.items() if se_cfg.get(key, value) != value}
    if se_cfg.get('type') in ('CBAM', 'GC'):
        found['type'] = se_cfg['type']
    if 'after_conv3' in [plugin['position'] for plugin in backbone.get('plugins') or ()]:
        found['plugins'] = 'at after_conv3'
    if found:
        reasons = ', '.join(f'{key} {value}' for key, value in found.items())
        raise UsageError(
            f'SE cannot be grafted to a backbone with {reasons}: the doubled norms would change '
            "its outputs. Graft with position='standard', gate='sigmoid', no relu_before_se and "
            'the type SE, ECA or eSE in se_cfg, and no plugins at after_conv3.'
        )
