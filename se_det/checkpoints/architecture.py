"""Infer the backbone that weights were trained in from their keys, shapes and metadata."""

import ast
import re
from typing import Any

from mmdet.models.backbones.resnet import Bottleneck, ResNet

from se_det.checkpoints.layouts import LAYOUTS, Found
from se_det.checkpoints.state_dicts import StateDict
from se_det.checkpoints.zoo import PublicWeights, public_weights
from se_det.layers import DEFAULT_REDUCTION

# Options of se_cfg that neither keys nor shapes show, and their defaults.
SE_OPTIONS = dict(position='standard', squeeze='mean', gate='sigmoid', relu_before_se=False)
# mmengine's names, and file names, of plain weights in the caffe style.
CAFFE = re.compile(r'://.*resnet\d+_caffe|resnet\d+_(caffe|msra)-[0-9a-f]{8}\.pth$')


def describe_backbone(found: Found, checkpoint: str = '') -> dict[str, Any]:
    """Infer the config of the backbone that weights were trained in.

    Keys and shapes do not show which convolution has the stride (``style``), how the stem pools
    (``stem_pool``), or whether a ReLU comes before SE (``relu_before_se``). These arguments are
    known for public files, for files of `tools/convert_weights.py`, for training checkpoints that
    contain their config, for the legacy layout (all its files come from one program), and for
    mmengine's names.

    Args:
        found: the weights.
        checkpoint: where they are from: a name, a URL, or a file.

    Returns:
        ``type``, ``depth`` (if it is a known one), and the other arguments that are known or differ
        from the defaults.
    """
    weights = found.weights
    cfg: dict[str, Any] = dict(type='SEResNet')
    if (depth := _depth(weights)) is not None:
        cfg['depth'] = depth
    if {'layer1.0.conv2.weight', 'layer1.0.conv3.weight'} <= weights.keys():
        width, group_width = weights['layer1.0.conv2.weight'].shape[:2]
        if len(weights['layer1.0.conv1.weight']) == width // 2:
            cfg.update(type='SENet', depth=154)
        elif width > group_width:
            cfg.update(type='SEResNeXt', groups=width // group_width, base_width=group_width)
    if 'stem.0.weight' in weights and cfg['type'] != 'SENet':
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
    if not known:
        known = _customary_arguments(found, checkpoint, cfg['type'])
    se_cfg.update(known.get('se_cfg', {}))
    cfg.update({key: known[key] for key in ('style', 'stem_pool') if key in known})
    return {**cfg, 'se_cfg': se_cfg} if se_cfg else cfg


def published_as(found: Found, checkpoint: str) -> PublicWeights | None:
    """The row of public weights in the zoo, also after a conversion; None for other weights."""
    return public_weights(checkpoint) or public_weights(str(found.converted_from.get('source')))


def as_text(cfg: dict[str, Any]) -> str:
    """Format a config as Python source: ``dict(type='SEResNet', depth=50)``."""
    return f'dict({", ".join(f"{key}={value!r}" for key, value in cfg.items())})'


def blocks(weights: StateDict) -> list[str]:
    """The names of the residual blocks in weights with our keys: ``layer1.0``, ``layer1.1``, ..."""
    return [key.removesuffix('.conv1.weight') for key in weights if _BLOCK.fullmatch(key)]


# timm's SE-ResNeXt-26 is of bottlenecks.
_ARCH_SETTINGS = {**ResNet.arch_settings, 26: (Bottleneck, (2, 2, 2, 2))}
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
        for depth, (block, stage_counts) in _ARCH_SETTINGS.items()
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
    """The backbone's arguments in the config whose text a training checkpoint contains.

    Arguments that it does not set have mmdet's defaults.
    """
    constants = constants_in_config(found.meta, 'backbone')
    if constants is None:
        return {}
    arguments: dict[str, Any] = {
        key: constants.get(key, default)
        for key, default in (('style', 'pytorch'), ('stem_pool', 'padded'))
    }
    if constants.get('relu_before_se'):
        arguments['se_cfg'] = dict(relu_before_se=True)
    return arguments


def constants_in_config(meta: dict[str, Any], keyword: str) -> dict[str, Any] | None:
    """The constants anywhere in the first argument ``keyword=...`` of a config, by their names.

    The text of the config is parsed, never run.

    Returns:
        None if there is no config, or no such argument in it.
    """
    text = meta.get('cfg') or meta.get('config')
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return None
    for node in nodes:
        if isinstance(node, ast.keyword) and node.arg == keyword:
            return {
                inner.arg: inner.value.value
                for inner in ast.walk(node)
                if isinstance(inner, ast.keyword) and isinstance(inner.value, ast.Constant)
            }
    return None


def _customary_arguments(found: Found, checkpoint: str, kind: str) -> dict[str, Any]:
    """The arguments of all files of the legacy layout, and of mmengine's names."""
    if found.layout.name == 'legacy':
        if _expansion(found.weights) == 1:
            return dict(stem_pool='ceil', se_cfg=dict(relu_before_se=True))
        return dict(style='caffe' if kind == 'SEResNet' else 'pytorch', stem_pool='ceil')
    if CAFFE.search(checkpoint):
        return dict(style='caffe', stem_pool='padded')
    if '://' in checkpoint and not checkpoint.startswith('http'):
        return dict(style='pytorch', stem_pool='padded')
    return {}


def _se_cfg(weights: StateDict) -> dict[str, Any]:
    """``reduction`` and ``stages`` if they differ from the defaults; empty for plain weights."""
    by_stage = {int(block[len('layer')]): None for block in blocks(weights)}
    for key, tensor in weights.items():
        if re.fullmatch(r'layer\d\.\d+\.se\.fc1\.weight', key):
            by_stage[int(key[len('layer')])] = tensor.shape[1] // tensor.shape[0]
    reductions = [reduction or DEFAULT_REDUCTION for reduction in by_stage.values()]
    stages = tuple(reduction is not None for reduction in by_stage.values())
    se_cfg: dict[str, Any] = {}
    for kind, layout in (('ECA', 'eca'), ('eSE', 'ese'), ('GC', 'gc'), ('CBAM', 'cbam')):
        keys = [key for key in weights if re.search(LAYOUTS[layout].sign, key)]
        if keys:
            se_cfg['type'] = kind
            with_it = {int(key[len('layer')]) for key in keys}
            stages = tuple(stage in with_it for stage in by_stage)
            reductions = [DEFAULT_REDUCTION] * len(stages)
    if set(reductions) != {DEFAULT_REDUCTION}:
        given = set(filter(None, by_stage.values()))
        se_cfg['reduction'] = given.pop() if len(given) == 1 else tuple(reductions)
    if any(stages) and not all(stages):
        se_cfg['stages'] = stages
    return se_cfg
