"""Files of random weights in the place of those that SE twins start from."""

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from se_det.checkpoints.layouts import LAYOUTS
from se_det.checkpoints.zoo import PublicWeights, public_weights

# Arguments of a ResNet on which its state dict depends, without options that no file has.
SIZES = ('type', 'depth', 'groups', 'base_width', 'deep_stem', 'avg_down', 'norm_cfg', 'conv_cfg')
# Our keys -> the keys of the layouts of public SE weights.
RENAMED = dict(
    timm=(),
    legacy=((r'^(conv1|bn1)\.', r'layer0.\1.'), (r'\.se\.', '.se_module.')),
    mmpretrain=((r'\.se\.fc([12])\.', r'.se_layer.conv\1.conv.'), (r'^', 'backbone.')),
)


def with_stand_ins(plain: Config, twin: Config, folder: Path) -> Config:
    """Write files of random weights and name them in a copy of a twin's config.

    Each has the file name, keys and shapes of the published file, so that ``SEPretrained`` checks
    it in the same way. The values are scaled so that features and gradients do not vanish.

    Args:
        plain: the config that the twin was made of; grafted weights are those of its model.
        twin: its twin; it is not changed.
        folder: folder for the files.
    """
    init_default_scope(plain.get('default_scope') or 'mmdet')
    twin = deepcopy(twin)
    for index, (init_cfg, part) in enumerate(_starts(twin.model, plain.model)):
        public = public_weights(init_cfg['checkpoint'])
        name = public.url if public else init_cfg['checkpoint']
        weights = _public(public) if public else _plain(part, name)
        path = folder / str(index) / name.rpartition('/')[2]
        path.parent.mkdir()
        torch.save(dict(state_dict=weights), path)
        init_cfg['checkpoint'] = str(path)
    return twin


def _starts(twin: dict, plain: dict) -> Iterator[tuple[dict, dict]]:
    """Each ``SEPretrained`` in a twin's model, and the plain module's config at its place."""
    for key, value in twin.items():
        if key == 'init_cfg':
            for init_cfg in value if isinstance(value, list) else [value]:
                if init_cfg and init_cfg['type'] == 'SEPretrained':
                    yield init_cfg, plain
        elif isinstance(value, dict) and isinstance(plain.get(key), dict):
            yield from _starts(value, plain[key])


def _public(row: PublicWeights) -> dict[str, Tensor]:
    backbone = MODELS.build(row.backbone)
    _randomise(backbone)
    weights = {}
    for key, tensor in backbone.state_dict().items():
        for pattern, replacement in RENAMED[row.layout]:
            key = re.sub(pattern, replacement, key)
        weights[key] = tensor
    return {**weights, f'{LAYOUTS[row.layout].classifier}weight': torch.zeros(1000, 8)}


def _plain(part: dict, name: str) -> dict[str, Tensor]:
    """Random weights of a plain backbone, or of a whole detector."""
    if 'backbone' in part:
        detector = MODELS.build({**deepcopy(part), 'init_cfg': None})
        _randomise(detector.backbone)
        return detector.state_dict()
    if str(part['type']).rpartition('.')[2] in ('ResNet', 'ResNeXt', 'ResNetV1d'):
        part = {key: part[key] for key in SIZES if key in part}
    else:
        part = {**deepcopy(part), 'init_cfg': None, **dict.fromkeys(part.keys() & {'pretrained'})}
    backbone = MODELS.build(part)
    _randomise(backbone)
    weights = backbone.state_dict()
    if 'detectron' not in name:
        return {**weights, 'fc.weight': torch.zeros(1000, 8), 'fc.bias': torch.zeros(1000)}
    # MMDetection converted these from Caffe2. conv1 has a bias if batch norm was folded.
    weights = {k: tensor for k, tensor in weights.items() if 'num_batches_tracked' not in k}
    return weights if name.endswith('_gn') else {**weights, 'conv1.bias': torch.zeros(64)}


def _randomise(backbone: nn.Module) -> None:
    for module in backbone.modules():
        # MMDetection leaves TridentConv uninitialised.
        if isinstance(module, nn.Conv2d) or type(module).__name__ == 'TridentConv':
            nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
        elif isinstance(module, _BatchNorm | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, _BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
