"""What backbone a file of weights is for, read off their names and shapes."""

import re
from typing import Any

from mmdet.models.backbones.resnet import ResNet

from se_det.checkpoints.layouts import Found, StateDict
from se_det.checkpoints.zoo import PublicWeights
from se_det.layers import DEFAULT_REDUCTION


def describe_backbone(found: Found, public: PublicWeights | None) -> dict[str, Any]:
    """Describe the backbone that weights fit, as its config.

    Names and shapes do not show where the stride of a block is, how the stem pools, or whether a
    ReLU stands before SE: those are told only of public files, of the legacy layout (which has one
    program behind it) and of what `tools/convert_weights.py` wrote.

    Args:
        found: the weights.
        public: their row in the zoo, if they have one.

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
    se_cfg = _se_cfg(weights)
    if public is not None:
        known = public.backbone
    elif found.converted_from is not None:
        known = found.converted_from['backbone']
    elif found.layout.name == 'legacy':
        known = _legacy_arguments(cfg['type'], basic='layer1.0.conv3.weight' not in weights)
    else:
        known = {}
    se_cfg.update(known.get('se_cfg', {}))
    cfg.update({key: known[key] for key in ('style', 'stem_pool') if key in known})
    return {**cfg, 'se_cfg': se_cfg} if se_cfg else cfg


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
    expansion = 4 if 'layer1.0.conv3.weight' in weights else 1
    depths = [
        depth
        for depth, (block, stage_counts) in ResNet.arch_settings.items()
        if block.expansion == expansion and stage_counts[: len(counts)] == counts
    ]
    return depths[0] if len(depths) == 1 else None


def _legacy_arguments(backbone: str, basic: bool) -> dict[str, Any]:
    if basic:
        return dict(stem_pool='ceil', se_cfg=dict(relu_before_se=True))
    return dict(style='caffe' if backbone == 'SEResNet' else 'pytorch', stem_pool='ceil')


def _se_cfg(weights: StateDict) -> dict[str, Any]:
    reductions = [
        tensor.shape[1] // tensor.shape[0]
        for key, tensor in weights.items()
        if re.fullmatch(r'layer\d\.0\.se\.fc1\.weight', key)
    ]
    if not reductions or set(reductions) == {DEFAULT_REDUCTION}:
        return {}
    return dict(reduction=reductions[0] if len(set(reductions)) == 1 else tuple(reductions))
