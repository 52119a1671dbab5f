"""Whether weights fit a backbone, its arguments and its state dict, or a whole detector."""

import re
from typing import Any

from mmdet.models.backbones.resnet import ResNet
from torch import nn

from se_det.backbones import SEBackbone
from se_det.backbones.whole_state_dict import (
    ADDED_BY_OPTIONS,
    described,
    differences,
    misshapen_keys,
    named,
)
from se_det.checkpoints.architecture import SE_OPTIONS, as_text
from se_det.checkpoints.state_dicts import StateDict
from se_det.errors import UsageError

# With those of DetectoRS and conv_cfg, all that files of ImageNet classifiers lack.
NOT_IN_CLASSIFIERS = re.compile(
    ADDED_BY_OPTIONS.pattern
    + r'|\.rfp_conv\.|\.weight_(diff|gamma|beta)$|\.switch\.|(pre|post)_context\.'
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
    misshapen = misshapen_keys(model.state_dict(), weights)
    missing, unexpected = model.load_state_dict(
        {key: tensor for key, tensor in weights.items() if key not in misshapen}, strict=False
    )
    missing = [
        key for key in missing if key not in misshapen and not key.endswith('.num_batches_tracked')
    ]
    if problems := described(missing, unexpected, misshapen.values()):
        raise UsageError(
            f'{source} does not fit the {type(model).__name__} of {config}: {problems}. Give the '
            'config that it was trained with; its work directory has it. Weights in another '
            'layout are converted by python -m se_det convert_weights.'
        )


def refuse_se_in_plain_backbones(detector: nn.Module) -> None:
    """Make the plain backbones of a detector raise on a state dict with SE."""
    for name, module in detector.named_modules():
        is_backbone = isinstance(module, ResNet) or name.endswith('backbone')
        if is_backbone and not isinstance(module, SEBackbone):
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
