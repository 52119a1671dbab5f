"""The SE twin of an MMDetection config: the same detector, with SE in its backbone."""

import inspect
import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger

from se_det.backbones.se_cfg import SEConfig
from se_det.config_files import locate_teacher, read_config
from se_det.errors import UsageError
from se_det.swap.placement import place_weights

# MMDetection's class -> its SE twin, and the defaults in which they differ.
TWINS = {
    'mmdet.ResNet': ('SEResNet', {}),
    'mmdet.ResNetV1d': ('SEResNet', dict(deep_stem=True, avg_down=True)),
    'mmdet.ResNeXt': ('SEResNeXt', {}),
    'mmpretrain.ResNet': ('SEResNet', dict(out_indices=(3,), norm_eval=False)),
    **{
        f'mmdet.{name}': (f'SE{name}', {})
        for name in (
            'CSPDarknet',
            'Darknet',
            'DetectoRS_ResNeXt',
            'DetectoRS_ResNet',
            'HRNet',
            'HourglassNet',
            'MobileNetV2',
            'RegNet',
            'Res2Net',
            'SSDVGG',
            'TridentResNet',
        )
    },
}
WITH_SE = {f'mmdet.{name}' for name, _ in TWINS.values()}
WITH_ATTENTION = {'mmdet.ResNeSt', 'mmdet.CSPNeXt', 'mmdet.EfficientNet'}


class NothingToSwap(UsageError):
    """The config has no backbone that can be swapped for an SE one."""


@dataclass(frozen=True)
class Backbone:
    """A backbone in a config.

    Attributes:
        path: where it is in the config, such as ``'model.detector.backbone'``.
        cfg: its config.
        owner: the config of the model that contains it.
        name: its class with the scope, such as ``'mmdet.ResNet'``.
    """

    path: str
    cfg: dict
    owner: dict
    name: str

    @property
    def is_frozen(self) -> bool:
        """Whether it is part of a frozen teacher: mmdet's distillers name those ``teacher_...``."""
        return any(part.startswith('teacher') for part in self.path.split('.'))

    def __str__(self) -> str:
        depth = f'-{self.cfg["depth"]}' if isinstance(self.cfg.get('depth'), int) else ''
        return f'{self.path}: {_name(self.cfg.get("type"))}{depth}'


def swap_backbone(
    cfg: Config | str | Path,
    checkpoint: str | Path | None = None,
    graft: bool = False,
    *,
    teachers: bool = False,
    **se_cfg: Any,
) -> Config:
    """Make the SE twin of a config.

    Every backbone in `TWINS`, anywhere in the model, becomes its SE twin with the same arguments.
    If the config names ImageNet weights, the twin starts from public SE weights of the same size,
    with the style, stem pool and preprocessing that they were trained with. If none fit, or other
    parts of the model depend on the config's weights, or these are not of ImageNet, SE is grafted
    to them. The log lists what was changed, what was not, and why.

    Args:
        cfg: a config, or its file as for `se_det.config_files.find_config`. It is not changed.
        checkpoint: weights to use instead of those that the config names: a name in `ZOO`, a URL,
            or a file. The reid of a tracker keeps its own.
        graft: graft SE to plain weights: to ``checkpoint`` or, without one, to those that the
            config names.
        teachers: swap frozen teachers too; their ``teacher_ckpt`` must then be of an SE detector.
        **se_cfg: keys of the backbone's ``se_cfg``, as in `SEConfig`.

    Returns:
        The twin; a copy of ``cfg`` if its backbones have SE already.

    Raises:
        NothingToSwap: the model has no such backbone.
        UsageError: ``checkpoint``, ``graft`` or ``se_cfg`` does not fit the backbone.
    """
    twin = deepcopy(cfg) if isinstance(cfg, Config) else read_config(cfg)
    if not isinstance(twin.get('model'), dict):
        raise NothingToSwap('The config has no model. Name a whole config, not a part of one.')
    if teachers and isinstance(twin.model.get('teacher_config'), str):
        locate_teacher(twin.model)
        twin.model.teacher_config = dict(model=read_config(twin.model.teacher_config).model)
    found = list(_backbones(twin.model, 'model', twin.get('default_scope') or 'mmdet'))
    swapped = [b for b in found if b.name in TWINS and (teachers or not b.is_frozen)]
    left = [b for b in found if b not in swapped]
    if not swapped and not any(_is_se(b) for b in left):
        raise _nothing_to_swap(left)

    checkpoint = checkpoint and os.fspath(checkpoint)
    others = [backbone.path for backbone in left]
    if isinstance(teacher := twin.model.get('teacher_config'), str):
        others.append('model.teacher_config')
    log = ['SE twin:' if swapped else 'No SE twin to make:']
    for backbone in swapped:
        log.append(f'{backbone} -> {_swap(backbone, se_cfg)}')
        if backbone.is_frozen:
            for weights in ('pretrained', 'init_cfg'):
                backbone.cfg.pop(weights, None)
            log.append('teacher_ckpt must be of an SE detector now')
            continue
        chosen = (None, False) if 'reid' in backbone.path.split('.') else (checkpoint, graft)
        log += place_weights(twin, backbone.cfg, backbone.owner, others, *chosen)
    if swapped:
        _import_se_det(twin)
        if twin.get('load_from'):
            log.append(
                f'load_from: {twin.load_from}, not changed: it must be of an SE detector now. To '
                'convert a plain one with a ResNet: '
                f'python -m se_det convert_weights {twin.load_from} out.pth --graft'
            )
    log += [f'{backbone}, not changed: {_why_not(backbone)}' for backbone in left]
    if 'model.teacher_config' in others:
        log.append(f'model.teacher_config: {teacher}, not changed: {FROZEN}')
    MMLogger.get_current_instance().info('\n  '.join(log))
    return twin


def _backbones(cfg: dict, path: str, scope: str) -> Iterator[Backbone]:
    """Every module that can be swapped or has SE, and every other one named ``...backbone``."""
    scope = cfg.get('_scope_', scope)
    for key, value in cfg.items():
        for place, inner in _dicts(f'{path}.{key}', value):
            name = _full_name(inner, scope)
            is_known = name in TWINS or name in WITH_SE
            if is_known or str(key).endswith('backbone'):
                yield Backbone(place, inner, cfg, name)
            if not is_known:
                yield from _backbones(inner, place, scope)


def _dicts(path: str, value: Any) -> Iterator[tuple[str, dict]]:
    if isinstance(value, dict):
        yield path, value
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _dicts(f'{path}.{index}', inner)


def _full_name(cfg: dict, scope: str) -> str:
    """The name of a module's class with its scope; its type is a name, or the class itself."""
    kind = cfg.get('type')
    if inspect.isclass(kind):
        package = kind.__module__.partition('.')[0]
        return f'{"mmdet" if package == "se_det" else package}.{kind.__name__}'
    return str(kind) if '.' in str(kind) else f'{cfg.get("_scope_", scope)}.{kind}'


def _name(kind: Any) -> str:
    return kind.__name__ if inspect.isclass(kind) else str(kind)


def _is_se(backbone: Backbone) -> bool:
    return backbone.name in WITH_SE


FROZEN = 'a frozen teacher (teachers=True swaps it too)'


def _why_not(backbone: Backbone) -> str:
    if _is_se(backbone):
        return 'it has SE already'
    if backbone.name in TWINS:
        return FROZEN
    if backbone.name in WITH_ATTENTION:
        return 'it has channel attention already'
    return "not one of MMDetection's convolutional backbones"


def _nothing_to_swap(left: list[Backbone]) -> NothingToSwap:
    found = '; '.join(f'{backbone} ({_why_not(backbone)})' for backbone in left) or 'none'
    hint = (
        'To swap frozen teachers too, set teachers=True (--teachers).'
        if any(backbone.name in TWINS for backbone in left)
        else f'Choose a config with one of {", ".join(TWINS)}.'
    )
    return NothingToSwap(f"None of the config's backbones can be swapped: {found}. {hint}")


def _swap(backbone: Backbone, se_cfg: dict[str, Any]) -> str:
    """Change a backbone's config to an SE one with the same arguments; return its class name."""
    name, defaults = TWINS[backbone.name]
    kind = backbone.cfg['type']
    # A class, in a pure Python config, cannot be written to a file, and mmpretrain has an SEResNet.
    scope = kind.rpartition('.')[0] if isinstance(kind, str) else 'mmdet'
    scope = 'mmdet' if backbone.name.startswith('mmpretrain.') else scope
    backbone.cfg['type'] = f'{scope}.{name}' if scope else name
    for argument, value in defaults.items():
        backbone.cfg.setdefault(argument, value)
    if se_cfg:
        backbone.cfg['se_cfg'] = dict(se_cfg)
        given = [se_cfg.get('stages'), se_cfg.get('reduction')]
        lengths = [len(value) for value in given if isinstance(value, list | tuple)]
        # Raise now what building the model would raise.
        is_resnet = name in ('SEResNet', 'SEResNeXt')
        num_stages = backbone.cfg.get('num_stages', 4) if is_resnet else next(iter(lengths), 1)
        SEConfig.read(se_cfg, num_stages)
    return name


def _import_se_det(twin: Config) -> None:
    imports = twin.get('custom_imports') or {}
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    if 'se_det' not in names:
        twin.custom_imports = dict(imports, imports=[*names, 'se_det'])
