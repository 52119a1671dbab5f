"""Weights whose keys are those of MMDetection's class, into a backbone with SE.

ResNet has many layouts (`se_det.checkpoints.layouts`); other backbones have one.
"""

import re

from torch import nn

from se_det.checkpoints.grafting import graft_into
from se_det.checkpoints.layouts import StateDict, named, prefixes_of, unwrap
from se_det.errors import UsageError


def weights_for(backbone: nn.Module, checkpoint: dict, graft: bool, source: str) -> StateDict:
    """Find the weights of a backbone in a checkpoint.

    Args:
        backbone: an SEBackbone.
        checkpoint: the contents of a file: of a classifier or of a whole detector.
        graft: the weights are plain; add SE that leaves the outputs as they are.
        source: name of the weights in error messages.

    Returns:
        Weights with the keys and shapes of the backbone. Layers that the file does not have, such
        as those of DCN, are missing.

    Raises:
        UsageError: the file is of another backbone, it has SE and ``graft`` is set, or has none
            and ``graft`` is not set.
    """
    expected = backbone.state_dict()
    weights = renamed(unwrap(checkpoint))
    prefix = min(prefixes_of(weights, next(iter(expected))), key=len, default='')
    given = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    name = type(backbone).__name__
    gates = [key for key in given if '.se.' in key]
    if graft and gates:
        raise UsageError(f'{source} has SE already: {named(gates)}. Remove graft=True.')
    if not graft and not gates:
        raise UsageError(
            f'{source} has no SE. To start {name} from plain weights, with SE that leaves the '
            "outputs as they are at first, add graft=True to dict(type='SEPretrained', ...)."
        )
    layers = backbone.layers_before_se
    needed = [f'{layer}.{part}' for layer in layers.values() for part in ('weight', 'bias')]
    if not graft:
        needed += [key for key in expected if '.se.' in key]
    if missing := [key for key in needed if key not in given]:
        raise UsageError(
            f'The weights of {source} do not fit {name}: {len(missing)} missing: {named(missing)}. '
            'Choose weights of the same backbone.'
        )
    fitting = {key: tensor for key, tensor in given.items() if key in expected}
    if misshapen := [k for k, tensor in fitting.items() if tensor.shape != expected[k].shape]:
        raise UsageError(
            f'The weights of {source} do not fit {name}: {len(misshapen)} of another shape: '
            f'{named(misshapen)}. Choose weights of the same backbone and size.'
        )
    return graft_into(backbone, fitting) if graft else fitting


def renamed(weights: StateDict) -> StateDict:
    """Give timm's RegNet (``s1.b1.conv1.conv``, ``s1.b1.conv1.bn``) MMDetection's keys."""
    if 's1.b1.conv1.conv.weight' not in weights:
        return weights
    return {_renamed(key): tensor for key, tensor in weights.items()}


def _renamed(key: str) -> str:
    key = re.sub(r'^stem\.(conv|bn)\.', r'\g<1>1.', key)
    key = re.sub(r'^s(\d)\.b(\d+)\.', lambda m: f'layer{m[1]}.{int(m[2]) - 1}.', key)
    key = re.sub(r'\.conv(\d)\.(conv|bn)\.', r'.\2\1.', key)
    return re.sub(r'\.downsample\.(conv|bn)\.', lambda m: f'.downsample.{m[1] == "bn":d}.', key)
