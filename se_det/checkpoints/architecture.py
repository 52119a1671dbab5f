"""What backbone a file of weights is for, read off their names and shapes."""

import ast
import re
from typing import Any

from mmdet.models.backbones.resnet import ResNet

from se_det.checkpoints.layouts import Found, StateDict
from se_det.checkpoints.zoo import PublicWeights, public_weights
from se_det.layers import DEFAULT_REDUCTION

# The plain files of the caffe style that mmengine has names for.
CAFFE = re.compile(r'://.*resnet\d+_caffe|resnet\d+_(caffe|msra)-[0-9a-f]{8}\.pth$')


def describe_backbone(found: Found, checkpoint: str = '') -> dict[str, Any]:
    """Describe the backbone that weights fit, as its config.

    Names and shapes do not show where the stride of a block is, how the stem pools, or whether a
    ReLU stands before SE: those are told only of public files, of what `tools/convert_weights.py`
    wrote, of training checkpoints that hold their config, of the legacy layout (which has one
    program behind it), and of mmengine's names.

    Args:
        found: the weights.
        checkpoint: what they are called: a name, a URL, or a file.

    Returns:
        ``type``, ``depth`` (left out if it is no known one) and what else differs from the
        defaults or is known.
    """
    weights = found.weights
    cfg: dict[str, Any] = dict(type='SEResNet')
    if (depth := _depth(weights)) is not None:
        cfg['depth'] = depth
    if {'layer1.0.conv2.weight', 'layer1.0.conv3.weight'} <= weights.keys():
        width, group_width = weights['layer1.0.conv2.weight'].shape[:2]
        if width > group_width:
            cfg.update(type='SEResNeXt', groups=width // group_width, base_width=group_width)
    if 'stem.0.weight' in weights:
        cfg['deep_stem'] = True
    if getattr(weights.get('layer2.0.downsample.1.weight'), 'ndim', 1) == 4:
        cfg['avg_down'] = True
    if (channels := _base_channels(weights)) != 64:
        cfg['base_channels'] = channels
    se_cfg = _se_cfg(weights)
    if (public := published_as(found, checkpoint)) is not None:
        known = public.backbone
    else:
        known = found.converted_from.get('backbone') or _trained_arguments(found)
    if not known and found.layout.name == 'legacy':
        known = _legacy_arguments(cfg['type'], basic=_expansion(weights) == 1)
    if not known and CAFFE.search(checkpoint):
        known = dict(style='caffe', stem_pool='padded')
    elif not known and '://' in checkpoint and not checkpoint.startswith('http'):
        known = dict(style='pytorch', stem_pool='padded')
    se_cfg.update(known.get('se_cfg', {}))
    cfg.update({key: known[key] for key in ('style', 'stem_pool') if key in known})
    return {**cfg, 'se_cfg': se_cfg} if se_cfg else cfg


def published_as(found: Found, checkpoint: str) -> PublicWeights | None:
    """The row in the zoo of weights called so, converted since or not; None if they have none."""
    return public_weights(checkpoint) or public_weights(str(found.converted_from.get('source')))


def as_text(cfg: dict[str, Any]) -> str:
    """A config as one would type it: ``dict(type='SEResNet', depth=50)``."""
    return f'dict({", ".join(f"{key}={value!r}" for key, value in cfg.items())})'


def blocks(weights: StateDict) -> list[str]:
    """Name the residual blocks of a backbone with our keys: ``layer1.0``, ``layer1.1``, ..."""
    return [key.removesuffix('.conv1.weight') for key in weights if _BLOCK.fullmatch(key)]


_BLOCK = re.compile(r'layer\d\.\d+\.conv1\.weight')


def _depth(weights: StateDict) -> int | None:
    names = blocks(weights)
    last_stage = max(int(name[len('layer')]) for name in names)
    counts = tuple(
        sum(name.startswith(f'layer{stage}.') for name in names)
        for stage in range(1, last_stage + 1)
    )
    depths = [
        depth
        for depth, (block, stage_counts) in ResNet.arch_settings.items()
        if block.expansion == _expansion(weights) and stage_counts[: len(counts)] == counts
    ]
    return depths[0] if len(depths) == 1 else None


def _expansion(weights: StateDict) -> int:
    return 4 if 'layer1.0.conv3.weight' in weights else 1


def _base_channels(weights: StateDict) -> int:
    last = 'conv3' if _expansion(weights) == 4 else 'conv2'
    convolution = weights.get(f'layer1.0.{last}.weight')
    return 64 if convolution is None else len(convolution) // _expansion(weights)


def _trained_arguments(found: Found) -> dict[str, Any]:
    """The backbone's arguments in the config that a training checkpoint holds the text of.

    The text is parsed and never run. mmdet's defaults are those of a backbone that names none.
    """
    text = found.meta.get('cfg') or found.meta.get('config')
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return {}
    for node in nodes:
        if isinstance(node, ast.keyword) and node.arg == 'backbone':
            constants = {
                inner.arg: inner.value.value
                for inner in ast.walk(node)
                if isinstance(inner, ast.keyword) and isinstance(inner.value, ast.Constant)
            }
            arguments: dict[str, Any] = {
                key: constants.get(key, default)
                for key, default in (('style', 'pytorch'), ('stem_pool', 'padded'))
            }
            if constants.get('relu_before_se'):
                arguments['se_cfg'] = dict(relu_before_se=True)
            return arguments
    return {}


def _legacy_arguments(backbone: str, basic: bool) -> dict[str, Any]:
    if basic:
        return dict(stem_pool='ceil', se_cfg=dict(relu_before_se=True))
    return dict(style='caffe' if backbone == 'SEResNet' else 'pytorch', stem_pool='ceil')


def _se_cfg(weights: StateDict) -> dict[str, Any]:
    """Reduction and stages, as far as they are not the defaults; none of plain weights."""
    by_stage = {int(block[len('layer')]): None for block in blocks(weights)}
    for key, tensor in weights.items():
        if re.fullmatch(r'layer\d\.\d+\.se\.fc1\.weight', key):
            by_stage[int(key[len('layer')])] = tensor.shape[1] // tensor.shape[0]
    reductions = [reduction or DEFAULT_REDUCTION for reduction in by_stage.values()]
    stages = tuple(reduction is not None for reduction in by_stage.values())
    se_cfg: dict[str, Any] = {}
    if set(reductions) != {DEFAULT_REDUCTION}:
        given = set(filter(None, by_stage.values()))
        se_cfg['reduction'] = given.pop() if len(given) == 1 else tuple(reductions)
    if any(stages) and not all(stages):
        se_cfg['stages'] = stages
    return se_cfg
