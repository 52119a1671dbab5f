"""The SE twin of an MMDetection config: the same detector, with SE in its backbone."""

import inspect
import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdet.models.backbones.resnet import ResNet, ResNetV1d
from mmdet.models.backbones.resnext import ResNeXt
from mmengine.config import Config
from mmengine.logging import print_log

from se_det.backbones import SEResNet, SEResNeXt
from se_det.config_files import locate_teacher, read_config
from se_det.errors import UsageError
from se_det.swap.placement import place_weights

# mmdet's class -> ours, and the arguments that are implied by mmdet's class.
TWINS = {
    ResNet: (SEResNet, {}),
    ResNeXt: (SEResNeXt, {}),
    ResNetV1d: (SEResNet, dict(deep_stem=True, avg_down=True)),
}
CLASSES = {f'mmdet.{cls.__name__}': cls for cls in (*TWINS, SEResNet, SEResNeXt)}


class NothingToSwap(UsageError):
    """The config has no backbone that can be swapped for an SE one."""


@dataclass(frozen=True)
class Backbone:
    """A backbone in a config.

    Attributes:
        path: where it is in the config, such as ``'model.detector.backbone'``.
        cfg: its config.
        owner: the config of the model that contains it.
        cls: its class, if that can be swapped or is an SE one already; else None.
    """

    path: str
    cfg: dict
    owner: dict
    cls: type | None

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

    Every ResNet, ResNeXt and ResNetV1d anywhere in the model becomes an SEResNet or SEResNeXt with
    the same arguments. If the config names ImageNet weights, the twin starts from public SE weights
    of the same size, with the style, stem pool and preprocessing that they were trained with. If
    none fit, or other parts of the model depend on the config's weights, or these are not of
    ImageNet, SE is grafted to them. The log lists what was changed, what was not, and why.

    Args:
        cfg: a config, or its file as for `se_det.config_files.find_config`. It is not changed.
        checkpoint: weights to use instead of those that the config names: a name in `ZOO`, a URL,
            or a file.
        graft: graft SE to plain weights: to ``checkpoint`` or, without one, to those that the
            config names.
        teachers: swap frozen teachers too; their ``teacher_ckpt`` must then be of an SE detector.
        **se_cfg: keys of SEResNet's ``se_cfg``.

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
    swapped = [b for b in found if b.cls in TWINS and (teachers or not b.is_frozen)]
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
        log += place_weights(twin, backbone.cfg, backbone.owner, others, checkpoint, graft)
    if swapped:
        _import_se_det(twin)
        if twin.get('load_from'):
            log.append(
                f'load_from: {twin.load_from}, not changed: it must be of an SE detector now. To '
                'convert a plain one: '
                f'python -m se_det convert_weights {twin.load_from} out.pth --graft'
            )
    log += [f'{backbone}, not changed: {_why_not(backbone)}' for backbone in left]
    if 'model.teacher_config' in others:
        log.append(f'model.teacher_config: {teacher}, not changed: {FROZEN}')
    print_log('\n  '.join(log), logger='current')
    return twin


def _backbones(cfg: dict, path: str, scope: str) -> Iterator[Backbone]:
    """Every module that can be swapped or has SE, and every other one named ``...backbone``."""
    scope = cfg.get('_scope_', scope)
    for key, value in cfg.items():
        for place, inner in _dicts(f'{path}.{key}', value):
            cls = _class(inner, scope)
            if cls is not None:
                yield Backbone(place, inner, cfg, cls)
                continue
            if str(key).endswith('backbone'):
                yield Backbone(place, inner, cfg, None)
            yield from _backbones(inner, place, scope)


def _dicts(path: str, value: Any) -> Iterator[tuple[str, dict]]:
    if isinstance(value, dict):
        yield path, value
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _dicts(f'{path}.{index}', inner)


def _class(cfg: dict, scope: str) -> type | None:
    """The class of ``type``, which is a name with or without scope, or the class itself."""
    kind = cfg.get('type')
    if isinstance(kind, str):
        return CLASSES.get(kind if '.' in kind else f'{cfg.get("_scope_", scope)}.{kind}')
    return kind if kind in CLASSES.values() else None


def _name(kind: Any) -> str:
    return kind.__name__ if inspect.isclass(kind) else str(kind)


def _is_se(backbone: Backbone) -> bool:
    return backbone.cls is not None and backbone.cls not in TWINS


FROZEN = 'a frozen teacher (teachers=True swaps it too)'


def _why_not(backbone: Backbone) -> str:
    if _is_se(backbone):
        return 'it has SE already'
    return FROZEN if backbone.cls else "not mmdet's ResNet, ResNeXt or ResNetV1d"


def _nothing_to_swap(left: list[Backbone]) -> NothingToSwap:
    found = '; '.join(map(str, left)) or 'none'
    hint = (
        'To swap frozen teachers too, set teachers=True (--teachers).'
        if any(backbone.cls for backbone in left)
        else 'Choose a config with one of these.'
    )
    return NothingToSwap(
        "Only mmdet's ResNet, ResNeXt and ResNetV1d can be swapped for SE backbones. "
        f"The config's backbones: {found}. {hint}"
    )


def _swap(backbone: Backbone, se_cfg: dict[str, Any]) -> str:
    """Change a backbone's config to an SE one with the same arguments; return its class name."""
    cls, implied = TWINS[backbone.cls]
    kind = backbone.cfg['type']
    if isinstance(kind, str):
        scope = kind.rpartition('.')[0]
        kind = f'{scope}.{cls.__name__}' if scope else cls.__name__
    else:  # the class itself, in a pure Python config; mmengine cannot write one to a file
        kind = f'mmdet.{cls.__name__}'
    backbone.cfg.update(implied, type=kind)
    if se_cfg:
        backbone.cfg['se_cfg'] = dict(se_cfg)
    return cls.__name__


def _import_se_det(twin: Config) -> None:
    imports = twin.get('custom_imports') or {}
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    if 'se_det' not in names:
        twin.custom_imports = dict(imports, imports=[*names, 'se_det'])
