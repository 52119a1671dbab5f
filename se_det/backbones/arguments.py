"""Checks the arguments of the backbones, with messages that say what is allowed."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from mmdet.models.backbones.resnet import BasicBlock, ResNet
from mmdet.models.backbones.resnext import ResNeXt
from mmdet.registry import MODELS
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS, Registry

from se_det.errors import ArgumentError
from se_det.layers import DEFAULT_REDUCTION

PLUGIN_POSITIONS = ('after_conv1', 'after_conv2', 'after_conv3')


def check_arguments(
    backbone: type[ResNet], depth: int, stem_pool: str, kwargs: dict[str, Any]
) -> None:
    """Check the arguments of a backbone, all but ``se_cfg``.

    Args:
        backbone: `SEResNet` or `SEResNeXt`.
        depth: number of layers.
        stem_pool: as in `SEResNet`.
        kwargs: the arguments for mmdet's ResNet or ResNeXt.

    Raises:
        ArgumentError: the first argument found that is unknown or has a value not allowed.
    """
    name = backbone.__name__
    if depth not in list(backbone.arch_settings):
        allowed = ', '.join(map(str, backbone.arch_settings))
        raise ArgumentError(f'{name} has the depths {allowed}; got depth={depth!r}.')

    if stem_pool not in ('padded', 'ceil'):
        raise ArgumentError(f"{name}: stem_pool must be 'padded' or 'ceil'; got {stem_pool!r}.")

    bases = [base for base in (ResNet, ResNeXt) if issubclass(backbone, base)]
    defaults = {
        parameter.name: parameter.default
        for base in bases
        for parameter in inspect.signature(base.__init__).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name != 'self'
    }
    unknown = sorted(set(kwargs) - set(defaults))
    if unknown:
        raise ArgumentError(
            f'{name} has no argument {unknown[0]!r}. It takes se_cfg, stem_pool and those of '
            f"mmdet's {bases[-1].__name__}: {', '.join(defaults)}."
        )

    value = {**defaults, **kwargs}

    def check(arguments: str, allowed: Callable[[Any], bool], expected: str) -> None:
        for argument in arguments.split():
            if argument in value and not allowed(value[argument]):
                raise ArgumentError(
                    f'{name}: {argument} must be {expected}; got {value[argument]!r}.'
                )

    stages = value['num_stages']
    check('num_stages', lambda v: _is_int(v) and 1 <= v <= 4, '1, 2, 3 or 4')
    check('style', lambda v: v in ('pytorch', 'caffe'), "'pytorch' or 'caffe'")
    per_stage = f'a sequence of num_stages={stages} positive ints'
    check('strides dilations', lambda v: _is_positive_ints(v, stages), per_stage)
    check(
        'out_indices',
        lambda v: _is_sequence(v) and all(index in range(stages) for index in v),
        f'a sequence of stage indices from 0 to {stages - 1}',
    )
    check(
        'frozen_stages',
        lambda v: _is_int(v) and -1 <= v <= stages,
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
        check('stage_with_dcn', lambda v: _is_bools(v, stages), bools)
    check(
        'plugins',
        lambda v: v is None or (_is_list(v) and all(_is_plugin(p, stages) for p in v)),
        'a list of dicts with cfg (a dict with the type of a registered layer), position (one of '
        f'{", ".join(PLUGIN_POSITIONS)}) and, if not for all stages, stages (a sequence of '
        f'num_stages={stages} bools)',
    )
    if backbone.arch_settings[depth][0] is BasicBlock:
        check('dcn plugins', lambda v: v is None, f'None at depth {depth} (use 50 or more)')
    check(
        'init_cfg',
        lambda v: all(_is_config_of(WEIGHT_INITIALIZERS, cfg) for cfg in _as_list(v)),
        "a dict with the type of an initializer, such as dict(type='SEPretrained', "
        "checkpoint='mmpretrain/se_resnet50'), or a list of them",
    )
    _check_pretrained(name, value['pretrained'], _as_list(value['init_cfg']))


def _check_pretrained(name: str, pretrained: Any, init_cfgs: Sequence[dict]) -> None:
    """Refuse mmengine's ``Pretrained``, which ignores keys that do not match."""
    named = [pretrained] if pretrained is not None else []
    for cfg in init_cfgs:
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


def reduction_by_stage(se_cfg: dict | None, num_stages: int) -> list[int | None]:
    """Read ``se_cfg`` into the reduction of each stage, None for a stage without SE.

    Args:
        se_cfg: ``reduction``, an int or one per stage, ``stages``, a bool per stage,
            ``relu_before_se`` and ``mask_padding``, bools, and ``fused``, a bool or None; or None.
        num_stages: number of stages of the backbone, 1 to 4.

    Raises:
        ArgumentError: a key is unknown or a value not allowed.
    """
    if not isinstance(se_cfg, dict | None):
        raise ArgumentError(
            f'se_cfg must be a dict with reduction and stages, or None; got {se_cfg!r}.'
        )
    se_cfg = dict(se_cfg or {})
    reduction = se_cfg.pop('reduction', DEFAULT_REDUCTION)
    stages = se_cfg.pop('stages', (True,) * num_stages)
    relu_before_se = se_cfg.pop('relu_before_se', False)
    mask_padding = se_cfg.pop('mask_padding', True)
    fused = se_cfg.pop('fused', None)
    if se_cfg:
        raise ArgumentError(
            f'se_cfg has no key {sorted(se_cfg)[0]!r}. It takes reduction (default '
            f'{DEFAULT_REDUCTION}), stages (default all), relu_before_se (default False), '
            'mask_padding (default True) and fused (default on a CPU only): '
            'se_cfg=dict(reduction=16, stages=(True, True, True, True)).'
        )
    for key, value in (('relu_before_se', relu_before_se), ('mask_padding', mask_padding)):
        if not isinstance(value, bool):
            raise ArgumentError(f'se_cfg: {key} must be True or False; got {value!r}.')
    if not isinstance(fused, bool | None):
        raise ArgumentError(
            f'se_cfg: fused must be True, False or None (on a CPU only); got {fused!r}.'
        )
    reductions = [reduction] * num_stages if _is_int(reduction) else reduction
    if not _is_positive_ints(reductions, num_stages):
        raise ArgumentError(
            f'se_cfg: reduction must be a positive int, or a sequence of num_stages={num_stages} '
            f'of them; got {reduction!r}.'
        )
    if not _is_bools(stages, num_stages):
        raise ArgumentError(
            f'se_cfg: stages must be a sequence of num_stages={num_stages} bools; got {stages!r}.'
        )
    return [r if with_se else None for r, with_se in zip(reductions, stages, strict=True)]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive_int(value: Any) -> bool:
    return _is_int(value) and value > 0


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _as_list(value: Any) -> Sequence:
    return value if _is_list(value) else [] if value is None else [value]


def _is_positive_ints(value: Any, length: int) -> bool:
    return _is_sequence(value) and len(value) == length and all(map(_is_positive_int, value))


def _is_bools(value: Any, length: int) -> bool:
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
        and (value.get('stages') is None or _is_bools(value['stages'], num_stages))
    )
