"""Pretrained weights into an SE backbone or a whole detector, all of them or an error."""

import re
from typing import Any

from mmdet.models.backbones.resnet import ResNet
from mmengine.logging import print_log
from mmengine.model import BaseModule, PretrainedInit
from mmengine.model.weight_init import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from se_det.checkpoints.agreement import check_backbone, check_preprocessing, running_config
from se_det.checkpoints.architecture import as_text, describe_backbone, published_as
from se_det.checkpoints.fetching import fetch
from se_det.checkpoints.grafting import check_graftable, graft, hidden_channels_like
from se_det.checkpoints.layouts import Found, StateDict, find_backbone, named
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.zoo import ZOO
from se_det.errors import UsageError

# Modules that mmdet adds to a ResNet on request, and that no ImageNet file has weights for.
ADDED_BY_OPTIONS = re.compile(r'\.conv_offset\.|_block\.|attention|\.plugin')


@WEIGHT_INITIALIZERS.register_module()
class SEPretrained:
    """Initialise with public or own SE weights: ``init_cfg=dict(type='SEPretrained', ...)``.

    Unlike mmengine's ``Pretrained``, it knows the layouts of the public files, and takes no file
    that does not fit: no weight of the backbone is left to chance.

    In a backbone's config it loads the backbone. In a detector's, ``model=dict(init_cfg=...)``, it
    loads a whole trained detector; parts that the file has not, or has in another shape (another
    number of classes), keep their usual initialisation and are named in the log.

    Args:
        checkpoint: a name in `ZOO`, such as ``'mmpretrain/se_resnet50'``, a URL, or a file of
            ``torch.save`` or safetensors.
        graft: the file is of a plain ResNet, ResNeXt, or detector with one; make it an SE one that
            computes the same (see `se_det.checkpoints.grafting`).

    Raises:
        UsageError: the arguments are others. On loading: the file cannot be had or read, does not
            fit the backbone, or was trained with other arguments of the backbone or another
            preprocessing of the images; or what was loaded would be initialised once more.
    """

    def __init__(self, checkpoint: str | None = None, graft: bool = False, **unknown: Any) -> None:
        if unknown or not isinstance(checkpoint, str) or not isinstance(graft, bool):
            given = as_text(dict(checkpoint=checkpoint, graft=graft, **unknown))
            raise UsageError(
                'SEPretrained takes checkpoint, a public name, a URL or a file, and graft, True or '
                f"False: init_cfg=dict(type='SEPretrained', checkpoint='mmpretrain/se_resnet50'); "
                f'got {given}.'
            )
        self.checkpoint = checkpoint
        self.graft = graft

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``."""
        self._check_that_it_stays(module)
        backbone = getattr(module, 'backbone', module)
        if not hasattr(backbone, 'stem_pool'):
            raise UsageError(
                'SEPretrained initialises an SEResNet or SEResNeXt, or a detector with one; got '
                f"{type(backbone).__name__}. Set type='SEResNet' or type='SEResNeXt' in it."
            )
        if self.checkpoint in ZOO:  # known before the download
            check_backbone(backbone, ZOO[self.checkpoint].backbone, self.checkpoint)
        found = find_backbone(read_checkpoint(fetch(self.checkpoint)))
        source = f'{self.checkpoint} (layout: {found.layout.name})'
        self._check_plain_or_se(found, source)
        public = published_as(found, self.checkpoint)
        if public is not None and (cfg := running_config()) is not None:
            check_preprocessing(cfg, public)
        wanted = describe_backbone(found, self.checkpoint)
        check_backbone(backbone, wanted, source)
        weights = _first_stages(found.weights, backbone.num_stages)
        if self.graft:
            se_cfg = dict(relu_before_se=backbone.relu_before_se)
            check_graftable(dict(plugins=backbone.plugins, se_cfg=se_cfg))
            weights = graft(weights, hidden_channels_like(backbone.state_dict()))
        check_fit(backbone, weights, source, wanted)

        missing = backbone.load_state_dict(weights, strict=False).missing_keys
        message = f'Loaded {len(weights)}/{len(weights) + len(missing)} keys of the backbone from '
        message += source + (', with SE grafted to it' if self.graft else '')
        if missing:
            message += f'; started anew: {named(missing)}'
        if backbone is not module:
            message += f'; {_load_beside(module, found.beside)}'
        elif found.beside:
            message += f'; left out what is beside it: {named(found.beside)}'
        print_log(message, logger='current')

        for child in module.children():  # or mmengine would initialise them after us
            child.is_init = True
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'SEPretrained: {self.checkpoint}')

    def _check_that_it_stays(self, module: nn.Module) -> None:
        """Nothing may initialise the module after this."""
        init_cfgs = getattr(module, 'init_cfg', None)
        kinds = [cfg.get('type') for cfg in init_cfgs] if isinstance(init_cfgs, list) else []
        ours = [index for index, kind in enumerate(kinds) if kind in ('SEPretrained', type(self))]
        if ours and (ours != [len(kinds) - 1] or {'Pretrained', PretrainedInit} & set(kinds)):
            raise UsageError(
                'SEPretrained has to come last in init_cfg, and without Pretrained: what comes '
                f'after it would change what it loaded. Got the types {kinds}.'
            )
        kind = type(module)
        if hasattr(module, 'backbone') and kind.init_weights is not BaseModule.init_weights:
            raise UsageError(
                f'{kind.__name__} initialises its weights once more after init_cfg has loaded '
                'them. Remove init_cfg from the model, type\n'
                f'tools/convert_weights.py {self.checkpoint} detector.pth'
                f'{" --graft" if self.graft else ""}\nand set\n'
                "load_from = 'detector.pth'"
            )

    def _check_plain_or_se(self, found: Found, source: str) -> None:
        is_plain = found.layout.name == 'plain'
        if is_plain and not self.graft:
            raise UsageError(
                f'{source} has the weights of a plain ResNet, without SE. To start from them, with '
                "SE blocks that do nothing yet, add graft=True to dict(type='SEPretrained', ...)."
            )
        if self.graft and not is_plain:
            raise UsageError(f'{source} has SE already. Remove graft=True.')


def _load_beside(detector: nn.Module, weights: StateDict) -> str:
    """Load the neck and heads of a detector as far as they fit; say how far that was."""
    others = [child for child in detector.children() if child is not detector.backbone]
    for child in others:
        if hasattr(child, 'init_weights'):
            child.init_weights()
    expected = {
        key: tensor
        for key, tensor in detector.state_dict().items()
        if not key.startswith('backbone.')
    }
    weights = dict(weights)
    detector._load_from_state_dict(weights, '', {}, False, [], [], [])  # some give keys new names
    fitting = {
        key: tensor
        for key, tensor in weights.items()
        if key not in expected or tensor.shape == expected[key].shape
    }
    # Its own backbone beside them: `refuse_what_does_not_fit` takes no state dict without one.
    fitting.update(detector.backbone.state_dict(prefix='backbone.'))
    missing = detector.load_state_dict(fitting, strict=False).missing_keys
    started_anew = [key for key in missing if key in expected]
    message = (
        f'{len(expected) - len(started_anew)}/{len(expected)} keys of the rest of the detector'
    )
    return message + (f'; started anew: {named(started_anew)}' if started_anew else '')


def _first_stages(weights: StateDict, num_stages: int) -> StateDict:
    """Leave out the stages that a backbone with fewer than four does without."""
    beyond = tuple(f'layer{stage}.' for stage in range(num_stages + 1, 5))
    return {key: tensor for key, tensor in weights.items() if not key.startswith(beyond)}


def check_fit(backbone: nn.Module, weights: StateDict, source: str, wanted: dict[str, Any]) -> None:
    """Check that weights are all that a backbone has.

    Args:
        backbone: an SEResNet or SEResNeXt.
        weights: with our keys.
        source: what to call them.
        wanted: the config of the backbone that they are of.

    Raises:
        UsageError: keys are missing, unexpected or of another shape.
    """
    if problems := differences(backbone.state_dict(), weights):
        raise UsageError(
            f'The weights of {source} do not fit {type(backbone).__name__}: {problems}. '
            f'They are of\n{as_text(wanted)}\nCheck these arguments of the backbone, and stages '
            'in se_cfg.'
        )


def refuse_what_does_not_fit(model: nn.Module) -> None:
    """Let every SE backbone of a model refuse, from now on, a state dict that does not fit.

    mmengine's ``load_from`` and ``--resume`` would leave what is missing to chance. A plain ResNet
    refuses one of an SE backbone, whose SE mmengine would leave out.
    """
    for module in model.modules():
        if hasattr(module, 'stem_pool'):
            module.register_load_state_dict_pre_hook(_refuse)
        elif isinstance(module, ResNet):
            module.register_load_state_dict_pre_hook(_refuse_se)


def _refuse_se(backbone: nn.Module, state_dict: StateDict, prefix: str, *_: Any) -> None:
    expected = {prefix + key for key in backbone.state_dict()}
    given = {key for key in state_dict if key.startswith(prefix) and '.se.fc1.' in key}
    if surplus := sorted(given - expected):
        raise UsageError(
            f'The checkpoint has SE in its backbone, and the {type(backbone).__name__} at '
            f'{prefix or "the top"} has not: {named(surplus)}. Add --se, or use the config that '
            'the checkpoint was trained with; its work directory has it.'
        )


def _refuse(backbone: nn.Module, state_dict: StateDict, prefix: str, *_: Any) -> None:
    expected = {prefix + key: tensor for key, tensor in backbone.state_dict().items()}
    given = {key: tensor for key, tensor in state_dict.items() if key.startswith(prefix)}
    uncounted = [key for key in expected if key.endswith('.num_batches_tracked')]
    if problems := differences(expected, {**{key: expected[key] for key in uncounted}, **given}):
        raise UsageError(
            f'The checkpoint does not fit the {type(backbone).__name__} at {prefix or "the top"}: '
            f"{problems}. Check the backbone's arguments. If it is of a plain detector, or in "
            'another layout, convert it first and load what that writes:\n'
            'tools/convert_weights.py CHECKPOINT detector.pth --graft  (of a plain detector)\n'
            'tools/convert_weights.py CHECKPOINT detector.pth          (of an SE detector)'
        )


def differences(expected: StateDict, weights: StateDict) -> str:
    """Name the first keys that are missing, unexpected or of another shape; '' if there are none.

    What options added to a ResNet may be missing.
    """
    missing = [k for k in expected if k not in weights and not ADDED_BY_OPTIONS.search(k)]
    unexpected = [key for key in weights if key not in expected]
    misshapen = [
        f'{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}'
        for key in weights
        if key in expected and weights[key].shape != expected[key].shape
    ]
    return '; '.join(
        f'{len(keys)} {what}: {named(keys)}'
        for what, keys in (
            ('missing', missing),
            ('unexpected', unexpected),
            ('of another shape', misshapen),
        )
        if keys
    )
