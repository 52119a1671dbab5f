"""Pretrained weights into an SE backbone or a whole detector, all of them or an error."""

from typing import Any

from mmengine.logging import MMLogger
from mmengine.model import BaseModule, PretrainedInit
from mmengine.model.weight_init import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from se_det.backbones import SEBackbone, SEResNet
from se_det.backbones.whole_state_dict import named
from se_det.checkpoints.architecture import (
    SE_OPTIONS,
    as_text,
    constants_in_config,
    describe_backbone,
    published_as,
)
from se_det.checkpoints.fetching import fetch
from se_det.checkpoints.fit import check_arguments, check_se_options, check_state_dict
from se_det.checkpoints.grafting import check_graftable, check_plain_or_se, graft_into
from se_det.checkpoints.layouts import find_backbone
from se_det.checkpoints.mmdet_keys import weights_for
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.state_dicts import StateDict
from se_det.checkpoints.zoo import ZOO, PublicWeights, public_weights
from se_det.errors import UsageError

# Weights of the backbone, those beside it, what they are of, and their row in the zoo.
_Weights = tuple[StateDict, StateDict, str, PublicWeights | None]


@WEIGHT_INITIALIZERS.register_module()
class SEPretrained:
    """Initialise with public or own SE weights: ``init_cfg=dict(type='SEPretrained', ...)``.

    Unlike mmengine's ``Pretrained``, it reads the key layouts of the public files, and raises if
    the file lacks a weight of the backbone or has one too many.

    In a backbone's config it loads the backbone. In a detector's, ``model=dict(init_cfg=...)``, it
    loads a whole trained detector. Parts of the detector that are missing from the file or have
    another shape there (another number of classes) keep their usual initialisation; the log names
    them.

    Args:
        checkpoint: a name in `ZOO`, such as ``'mmpretrain/se_resnet50'``, a URL, or a file of
            ``torch.save`` or safetensors.
        graft: the file is of the plain backbone, or of a detector with it. Add SE that leaves the
            outputs as they are (see `se_det.checkpoints.grafting`).

    Raises:
        UsageError: an argument is unknown or of another type. On loading: the file cannot be found,
            downloaded or read, or does not fit the backbone; the backbone has other arguments than
            the one that the weights were trained in; or another initialisation would overwrite the
            weights.
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
        self._check_initialised_last(module)
        backbone = getattr(module, 'backbone', module)
        if not isinstance(backbone, SEBackbone):
            raise UsageError(
                'SEPretrained initialises a backbone with SE, or a detector with one; got '
                f"{type(backbone).__name__}. Set its SE twin, such as type='SEResNet', in it."
            )
        if isinstance(backbone, SEResNet):
            weights, beside, source, public = self._of_resnet(backbone)
        else:
            weights, beside, source, public = self._of_another(backbone)
        missing = backbone.load_state_dict(weights, strict=False).missing_keys
        message = f'Loaded {len(weights)}/{len(weights) + len(missing)} keys of the backbone from '
        message += source + (', with SE grafted to it' if self.graft else '')
        if missing:
            message += f'; newly initialised: {named(missing)}'
        if backbone is not module:
            message += f'; {_load_beside(module, beside, self.graft)}'
        elif beside:
            message += f'; not loaded: {named(beside)}'
        if public:
            message += f'; trained on images of {as_text(public.data_preprocessor)}'
        MMLogger.get_current_instance().info(message)

        for child in module.children():  # mmengine initialises children after init_cfg
            child.is_init = True
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'SEPretrained: {self.checkpoint}')

    def _of_resnet(self, backbone: nn.Module) -> _Weights:
        """Weights in any layout of ResNet."""
        is_listed = self.checkpoint in ZOO
        if is_listed:  # checked before the download
            check_arguments(backbone, ZOO[self.checkpoint].backbone, self.checkpoint)
        found = find_backbone(read_checkpoint(fetch(self.checkpoint)), source=self.checkpoint)
        source = f'{self.checkpoint} (layout: {found.layout.name})'
        check_plain_or_se(found.layout.name != 'plain', self.graft, source)
        wanted = describe_backbone(found, self.checkpoint)
        if not is_listed:
            check_arguments(backbone, wanted, source)
        public = published_as(found, self.checkpoint)
        if public:
            checked = dict(relu_before_se=backbone.relu_before_se)  # by check_arguments
            check_se_options(backbone, checked, source)
        elif not self.graft:
            _check_trained(backbone, found.meta, source)
        weights = _first_stages(found.weights, backbone.num_stages)
        if self.graft:
            self._check_graftable(backbone)
            weights = graft_into(backbone, weights)
        check_state_dict(backbone, weights, source, wanted)
        return weights, found.beside, source, public

    def _of_another(self, backbone: nn.Module) -> _Weights:
        """Weights with the keys of MMDetection's class."""
        source = self.checkpoint
        checkpoint = read_checkpoint(fetch(source))
        if self.graft:
            self._check_graftable(backbone)
        public = public_weights(source)
        if public:
            found = dict(type=type(backbone).__name__, arch=getattr(backbone, 'arch', None))
            if public.backbone != found:
                raise UsageError(
                    f'{source} is of\nmodel = dict(backbone={as_text(public.backbone)})\n'
                    f'The backbone is {as_text(found)}.'
                )
            check_se_options(backbone, {}, source)
        elif not self.graft:
            _check_trained(backbone, checkpoint.get('meta'), source)
        weights, beside = weights_for(backbone, checkpoint, self.graft, source)
        return weights, beside, source, public

    def _check_graftable(self, backbone: nn.Module) -> None:
        plugins = getattr(backbone, 'plugins', None)
        check_graftable(dict(plugins=plugins, se_cfg=vars(backbone.se_cfg)))

    def _check_initialised_last(self, module: nn.Module) -> None:
        """Check that no other initialisation of the module comes after this one."""
        init_cfgs = getattr(module, 'init_cfg', None)
        kinds = [cfg.get('type') for cfg in init_cfgs] if isinstance(init_cfgs, list) else []
        ours = [index for index, kind in enumerate(kinds) if kind in ('SEPretrained', type(self))]
        if ours and (ours != [len(kinds) - 1] or {'Pretrained', PretrainedInit} & set(kinds)):
            raise UsageError(
                'SEPretrained must be the last in init_cfg, and cannot be combined with '
                f'Pretrained: either would overwrite the loaded weights. Got the types {kinds}.'
            )
        kind = type(module)
        if hasattr(module, 'backbone') and kind.init_weights is not BaseModule.init_weights:
            raise UsageError(
                f'{kind.__name__} initialises its weights again after init_cfg, which would '
                'overwrite them. Remove init_cfg from the model, type\n'
                f'python -m se_det convert_weights {self.checkpoint} detector.pth'
                f'{" --graft" if self.graft else ""}\nand set\n'
                "load_from = 'detector.pth'"
            )


def _check_trained(backbone: nn.Module, meta: Any, source: str) -> None:
    """Check the options of SE against the config in a training checkpoint, if it has one."""
    if isinstance(meta, dict) and constants_in_config(meta, 'backbone') is not None:
        constants = constants_in_config(meta, 'se_cfg') or {}
        trained = {key: value for key, value in constants.items() if key in SE_OPTIONS}
        check_se_options(backbone, trained, source)


def _load_beside(detector: nn.Module, weights: StateDict, graft: bool) -> str:
    """Load the weights of a detector's neck and heads that fit; return a summary for the log."""
    if graft:
        weights = _graft_others(detector, weights)
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
    detector._load_from_state_dict(weights, '', {}, False, [], [], [])  # some rename old keys here
    fitting = {
        key: tensor
        for key, tensor in weights.items()
        if key not in expected or tensor.shape == expected[key].shape
    }
    # Its own backbone beside them, whose hook takes all of its keys or none.
    fitting.update(detector.backbone.state_dict(prefix='backbone.'))
    missing = detector.load_state_dict(fitting, strict=False).missing_keys
    new = [key for key in missing if key in expected]
    message = f'{len(expected) - len(new)}/{len(expected)} keys of the rest of the detector'
    return message + (f'; newly initialised: {named(new)}' if new else '')


def _graft_others(detector: nn.Module, weights: StateDict) -> StateDict:
    """Graft SE to the other backbones of a detector, such as those of DetectoRS' neck."""
    for name, module in detector.named_modules():
        if isinstance(module, SEBackbone) and module is not detector.backbone:
            prefix = f'{name}.'
            own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            if own:
                grafted = graft_into(module, own)
                weights = {**weights, **{prefix + key: value for key, value in grafted.items()}}
    return weights


def _first_stages(weights: StateDict, num_stages: int) -> StateDict:
    """Leave out the stages beyond ``num_stages``."""
    beyond = tuple(f'layer{stage}.' for stage in range(num_stages + 1, 5))
    return {key: tensor for key, tensor in weights.items() if not key.startswith(beyond)}
