"""Checks the arguments of the backbones, with messages that say what is allowed."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from mmdet.models.backbones.resnet import ResNet
from mmdet.models.backbones.resnext import ResNeXt
from mmdet.registry import MODELS
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS, Registry

from se_det.errors import ArgumentError

PLUGIN_POSITIONS = ('after_conv1', 'after_conv2', 'after_conv3')


def check_arguments(
    backbone: type[ResNet], depth: int, stem_pool: str, kwargs: dict[str, Any]
) -> None:
    """Check the values of a ResNet's arguments, all but ``se_cfg``.

    Raises:
        ArgumentError: the first value found that is not allowed.
    """
    name = backbone.__name__
    if stem_pool not in ('padded', 'ceil'):
        raise ArgumentError(f"{name}: stem_pool must be 'padded' or 'ceil'; got {stem_pool!r}.")
    defaults = {
        parameter.name: parameter.default
        for base in (ResNet, ResNeXt)
        if issubclass(backbone, base)
        for parameter in inspect.signature(base.__init__).parameters.values()
    }
    value = {**defaults, **kwargs}

    def check(arguments: str, allowed: Callable[[Any], bool], expected: str) -> None:
        for argument in arguments.split():
            if argument in value and not allowed(value[argument]):
                raise ArgumentError(
                    f'{name}: {argument} must be {expected}; got {value[argument]!r}.'
                )

    stages = value['num_stages']
    check('num_stages', lambda v: is_int(v) and 1 <= v <= 4, '1, 2, 3 or 4')
    check('style', lambda v: v in ('pytorch', 'caffe'), "'pytorch' or 'caffe'")
    per_stage = f'a sequence of num_stages={stages} positive ints'
    check('strides dilations', lambda v: is_positive_ints(v, stages), per_stage)
    check(
        'out_indices',
        lambda v: _is_sequence(v) and all(index in range(stages) for index in v),
        f'a sequence of stage indices from 0 to {stages - 1}',
    )
    check(
        'frozen_stages',
        lambda v: is_int(v) and -1 <= v <= stages,
        f'-1 (none), 0 (the stem), or up to num_stages={stages}',
    )
    check('in_channels base_channels groups base_width', _is_positive_int, 'a positive int')
    check(
        'stem_channels',
        lambda v: v is None or _is_positive_int(v),
        'a positive int, or None for base_channels',
    )
    flags = 'deep_stem avg_down norm_eval with_cp zero_init_residual'
    check(flags, lambda v: isinstance(v, bool), 'True or False')
    layer = "a dict with the type of a registered layer, such as dict(type='{}')"
    check('norm_cfg', lambda v: _is_config_of(MODELS, v), layer.format('BN'))
    for argument, example in (('conv_cfg', 'ConvWS'), ('dcn', 'DCNv2')):
        check(argument, lambda v: v is None or _is_config_of(MODELS, v), layer.format(example))
    check(
        'norm_cfg',
        lambda v: v['type'] != 'GN' or 'num_groups' in v,
        "given num_groups, such as dict(type='GN', num_groups=32)",
    )
    if value['dcn'] is not None:
        check('conv_cfg', lambda v: v is None, 'left out when dcn is given')
    if value['dcn'] is not None or 'stage_with_dcn' in kwargs:
        bools = f'a sequence of num_stages={stages} bools'
        check('stage_with_dcn', lambda v: is_bools(v, stages), bools)
    check(
        'plugins',
        lambda v: (
            v is None or (isinstance(v, list | tuple) and all(_is_plugin(p, stages) for p in v))
        ),
        'a list of dicts with cfg (a dict with the type of a registered layer), position (one of '
        f'{", ".join(PLUGIN_POSITIONS)}) and, if not for all stages, stages (a sequence of '
        f'num_stages={stages} bools)',
    )
    if depth in (18, 34):
        check('dcn plugins', lambda v: v is None, f'None at depth {depth} (use 50 or more)')
    check_pretrained(name, value['pretrained'], value['init_cfg'])


def check_pretrained(name: str, pretrained: Any, init_cfg: Any) -> None:
    """Refuse mmengine's ``Pretrained``, which ignores keys that do not match.

    Raises:
        ArgumentError: the backbone ``name`` is given weights that way.
    """
    named = [pretrained] if pretrained is not None else []
    for cfg in init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]:
        if cfg is None:
            continue
        if not _is_config_of(WEIGHT_INITIALIZERS, cfg):
            raise ArgumentError(
                f'{name}: init_cfg must be a dict with the type of an initializer, such as '
                "dict(type='SEPretrained', checkpoint='mmpretrain/se_resnet50'), or a list of "
                f'them; got {init_cfg!r}.'
            )
        kind = cfg['type']
        if PretrainedInit in (kind, isinstance(kind, str) and WEIGHT_INITIALIZERS.get(kind)):
            named.append(cfg.get('checkpoint'))
    if named:
        line = f"init_cfg=dict(type='SEPretrained', checkpoint={named[0]!r}"
        raise ArgumentError(
            f'{name} takes no weights by pretrained or Pretrained, which ignore keys that do not '
            f'match. Set\n{line})\nor, if they are plain, to graft SE to them,\n'
            f'{line}, graft=True)'
        )


def is_int(value: Any) -> bool:
    """Whether a value is an int and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive_int(value: Any) -> bool:
    return is_int(value) and value > 0


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0


def is_positive_ints(value: Any, length: int) -> bool:
    """Whether a value is a sequence of so many positive ints."""
    return _is_sequence(value) and len(value) == length and all(map(_is_positive_int, value))


def is_bools(value: Any, length: int) -> bool:
    """Whether a value is a sequence of so many bools."""
    return _is_sequence(value) and len(value) == length and all(isinstance(v, bool) for v in value)


def _is_config_of(registry: Registry, value: Any) -> bool:
    """Whether ``value`` is a dict whose ``type`` is a class, or a name that ``registry`` knows."""
    kind = value.get('type') if isinstance(value, dict) else None
    return inspect.isclass(kind) or (isinstance(kind, str) and registry.get(kind) is not None)


def _is_plugin(value: Any, num_stages: int) -> bool:
    return (
        isinstance(value, dict)
        and set(value) <= {'cfg', 'position', 'stages'}
        and _is_config_of(MODELS, value.get('cfg'))
        and value.get('position') in PLUGIN_POSITIONS
        and (value.get('stages') is None or is_bools(value['stages'], num_stages))
    )
