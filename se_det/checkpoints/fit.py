"""Whether weights fit a backbone, its arguments and its state dict, or a whole detector."""

import re
from collections.abc import Iterable
from typing import Any

from mmdet.models.backbones.resnet import ResNet
from torch import nn

from se_det.checkpoints.architecture import SE_OPTIONS, as_text
from se_det.checkpoints.layouts import named
from se_det.checkpoints.state_dicts import StateDict
from se_det.errors import UsageError

# Layers of mmdet's options dcn and plugins, which a checkpoint may lack; and with those of
# DetectoRS and conv_cfg, all that files of ImageNet classifiers lack.
ADDED_BY_OPTIONS = re.compile(r'\.conv_offset\.|_block\.|attention|\.plugin')
NOT_IN_CLASSIFIERS = re.compile(
    ADDED_BY_OPTIONS.pattern
    + r'|\.rfp_conv\.|\.weight_(diff|gamma|beta)$|\.switch\.|(pre|post)_context\.'
)

# What to do with a checkpoint that does not fit an SE backbone.
OF_RESNET = (
    'If it is of a plain detector, or in another layout, convert it first and load the converted '
    'file:\npython -m se_det convert_weights CHECKPOINT detector.pth --graft  (of a plain one)\n'
    'python -m se_det convert_weights CHECKPOINT detector.pth          (of an SE detector)'
)
OF_ANOTHER = (
    'If it is of a plain detector, graft SE to it: leave load_from out and set\n'
    "model = dict(init_cfg=dict(type='SEPretrained', checkpoint=CHECKPOINT, graft=True))"
)


def check_arguments(backbone: nn.Module, wanted: dict[str, Any], source: str) -> None:
    """Check the arguments that a backbone was built with.

    Args:
        backbone: an SEResNet or SEResNeXt.
        wanted: the config of the backbone that the weights were trained in, as
            `se_det.checkpoints.architecture.describe_backbone` returns it.
        source: name of the weights in error messages.

    Raises:
        UsageError: an argument differs; the message has the lines to paste.
    """
    different = {
        key: value
        for key, value in wanted.items()
        if key not in ('type', 'se_cfg') and _argument(backbone, key) != value
    }
    relu_before_se = wanted.get('se_cfg', {}).get('relu_before_se', False)
    if relu_before_se != backbone.relu_before_se:
        different['se_cfg'] = {**wanted.get('se_cfg', {}), 'relu_before_se': relu_before_se}
    is_wider = wanted['type'] == 'SEResNet' and _argument(backbone, 'groups') > 1
    if different or is_wider:
        found = ', '.join(
            f'{key}={_argument(backbone, key)!r}' for key in [*different, *['groups'] * is_wider]
        )
        raise UsageError(
            f'The backbone differs from the one that {source} was trained in: it has {found}. Set\n'
            f'model = dict(backbone={as_text({**wanted, **different})})'
            + ('\nand remove groups and base_width.' if is_wider else '')
        )


def check_se_options(backbone: nn.Module, trained: dict[str, Any], source: str) -> None:
    """Check the options of ``se_cfg`` that neither keys nor shapes show.

    Args:
        backbone: an SEBackbone.
        trained: those of `SE_OPTIONS` that the weights were trained with, where they differ from
            the backbone's defaults.
        source: name of the weights in error messages.

    Raises:
        UsageError: one of them differs.
    """
    wanted = {**SE_OPTIONS, **backbone.se_defaults, **trained}
    found = {key: getattr(backbone.se_cfg, key) for key in SE_OPTIONS}
    if different := {key: wanted[key] for key in found if found[key] != wanted[key]}:
        raise UsageError(
            f'{source} was trained with {as_text(different)}, but the backbone has '
            f'{as_text({key: found[key] for key in different})}. Set\n'
            f'model = dict(backbone=dict(se_cfg={as_text(different)}))'
        )


def check_state_dict(
    backbone: nn.Module, weights: StateDict, source: str, wanted: dict[str, Any]
) -> None:
    """Check that weights are the whole state dict of a backbone.

    Args:
        backbone: an SEResNet or SEResNeXt.
        weights: with our keys.
        source: name of the weights in error messages.
        wanted: the config of the backbone that the weights were trained in.

    Raises:
        UsageError: keys are missing, unexpected or of another shape.
    """
    if problems := differences(backbone.state_dict(), weights, NOT_IN_CLASSIFIERS):
        raise UsageError(
            f'The weights of {source} do not fit {type(backbone).__name__}: {problems}. '
            f'They are of\n{as_text(wanted)}\nCheck these arguments of the backbone, and stages '
            'in se_cfg.'
        )


def load_whole(model: nn.Module, weights: StateDict, source: str, config: str) -> None:
    """Load the whole state dict of a model, every key of it.

    Args:
        model: any; the hooks of its parts that rename old keys are called.
        weights: its state dict. Counts of batches may be missing, and mean and std of the images
            may be in it: old checkpoints lack the former and some have the latter.
        source: name of the weights in error messages.
        config: name of the config there.

    Raises:
        UsageError: keys are missing, unexpected or of another shape.
    """
    weights = {k: v for k, v in weights.items() if not k.startswith('data_preprocessor.')}
    misshapen = _misshapen(model.state_dict(), weights)
    missing, unexpected = model.load_state_dict(
        {key: tensor for key, tensor in weights.items() if key not in misshapen}, strict=False
    )
    missing = [
        key for key in missing if key not in misshapen and not key.endswith('.num_batches_tracked')
    ]
    if problems := _described(missing, unexpected, misshapen.values()):
        raise UsageError(
            f'{source} does not fit the {type(model).__name__} of {config}: {problems}. Give the '
            'config that it was trained with; its work directory has it. Weights in another '
            'layout are converted by python -m se_det convert_weights.'
        )


def refuse_what_does_not_fit(backbone: nn.Module) -> None:
    """Make an SE backbone raise on a detector's state dict that has a part of its keys, or others.

    mmengine loads with ``strict=False``: it skips missing and unexpected keys and only logs them.
    The state dict of the backbone alone is loaded as torch does.
    """
    backbone.register_load_state_dict_pre_hook(_refuse)


def refuse_se_in_plain_backbones(detector: nn.Module) -> None:
    """Make the plain backbones of a detector raise on a state dict with SE."""
    for name, module in detector.named_modules():
        is_backbone = isinstance(module, ResNet) or name.endswith('backbone')
        if is_backbone and not hasattr(module, 'layers_before_se'):
            module.register_load_state_dict_pre_hook(_refuse_se)


def _argument(backbone: nn.Module, key: str) -> Any:
    if key == 'se_cfg':
        return dict(relu_before_se=backbone.relu_before_se)
    return getattr(backbone, key, dict(groups=1, base_width=64).get(key))


def _refuse_se(backbone: nn.Module, state_dict: StateDict, prefix: str, *_: Any) -> None:
    expected = {prefix + key for key in backbone.state_dict()}
    given = {key for key in state_dict if key.startswith(prefix) and '.se.' in key}
    if surplus := sorted(given - expected):
        raise UsageError(
            f'The checkpoint has SE in its backbone, but the {type(backbone).__name__} at '
            f'{prefix or "the top"} does not: {named(surplus)}. Add --se, or use the config that '
            'the checkpoint was trained with; its work directory has it.'
        )


def _refuse(backbone: nn.Module, state_dict: StateDict, prefix: str, *_: Any) -> None:
    given = {key: tensor for key, tensor in state_dict.items() if key.startswith(prefix)}
    if not prefix or not given:
        return
    expected = {prefix + key: tensor for key, tensor in backbone.state_dict().items()}
    uncounted = [key for key in expected if key.endswith('.num_batches_tracked')]
    given = {**{key: expected[key] for key in uncounted}, **given}
    if problems := differences(expected, given, ADDED_BY_OPTIONS):
        hint = OF_RESNET if hasattr(backbone, 'stem_pool') else OF_ANOTHER
        raise UsageError(
            f'The checkpoint does not fit the {type(backbone).__name__} at {prefix}: '
            f"{problems}. Check the backbone's arguments. {hint}"
        )


def differences(expected: StateDict, weights: StateDict, may_lack: re.Pattern[str]) -> str:
    """Name the first keys that are missing, unexpected or of another shape; '' if there are none.

    Keys in which ``may_lack`` is found may be missing.
    """
    missing = [key for key in expected if key not in weights and not may_lack.search(key)]
    unexpected = [key for key in weights if key not in expected]
    return _described(missing, unexpected, _misshapen(expected, weights).values())


def _misshapen(expected: StateDict, weights: StateDict) -> dict[str, str]:
    """Keys whose tensors differ in shape, each with a description."""
    return {
        key: f'{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}'
        for key in weights
        if key in expected and weights[key].shape != expected[key].shape
    }


def _described(missing: Iterable[str], unexpected: Iterable[str], misshapen: Iterable[str]) -> str:
    """Count and name the first keys of each kind; '' if there are none."""
    kinds = ('missing', missing), ('unexpected', unexpected), ('of another shape', misshapen)
    counted = [(list(keys), what) for what, keys in kinds]
    return '; '.join(f'{len(keys)} {what}: {named(keys)}' for keys, what in counted if keys)
