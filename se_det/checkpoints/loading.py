"""Pretrained weights into an SE backbone or a whole detector, all of them or an error."""

import re
from typing import Any

from mmengine.logging import print_log
from mmengine.model.weight_init import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from se_det.checkpoints.agreement import check_backbone, check_preprocessing, running_config
from se_det.checkpoints.architecture import as_text, describe_backbone
from se_det.checkpoints.fetching import fetch
from se_det.checkpoints.grafting import check_graftable, graft, hidden_channels_like
from se_det.checkpoints.layouts import Found, StateDict, find_backbone
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.zoo import public_weights
from se_det.errors import UsageError

# Modules that mmdet adds to a ResNet on request, and that no ImageNet file has weights for.
ADDED_BY_OPTIONS = re.compile(r'\.conv_offset\.|_block\.|attention|\.plugin')
NAMED = 5  # keys that an error message names


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
        UsageError: on loading: the file cannot be had or read, does not fit the backbone, or was
            trained with other arguments of the backbone or another preprocessing of the images.
    """

    def __init__(self, checkpoint: str, graft: bool = False) -> None:
        self.checkpoint = checkpoint
        self.graft = graft

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``."""
        found = find_backbone(read_checkpoint(fetch(self.checkpoint)))
        source = f'{self.checkpoint} (layout: {found.layout.name})'
        backbone = getattr(module, 'backbone', module)
        if not hasattr(backbone, 'stem_pool'):
            raise UsageError(
                'SEPretrained initialises an SEResNet or SEResNeXt, or a detector with one; got '
                f"{type(backbone).__name__}. Set type='SEResNet' or type='SEResNeXt' in it."
            )
        self._check_plain_or_se(found, source)
        public = public_weights(self.checkpoint)
        if public is not None and (cfg := running_config()) is not None:
            check_preprocessing(cfg, public)
        wanted = describe_backbone(found, public)
        check_backbone(backbone, wanted, source)
        weights = _first_stages(found.weights, backbone.num_stages)
        if self.graft:
            se_cfg = dict(relu_before_se=backbone.relu_before_se)
            check_graftable(dict(plugins=backbone.plugins, se_cfg=se_cfg))
            weights = graft(weights, hidden_channels_like(backbone.state_dict()))
        _check_fit(backbone, weights, source, wanted)

        backbone.load_state_dict(weights, strict=False)
        message = f'Loaded {len(weights)}/{len(weights)} keys of the backbone from {source}'
        if self.graft:
            message += ', with SE grafted to it'
        if backbone is not module:
            message += f'; {_load_beside(module, found.beside)}'
        elif found.beside:
            message += f'; left out what is beside it: {_named(list(found.beside))}'
        print_log(message, logger='current')

        for child in module.children():  # or mmengine would initialise them after us
            child.is_init = True
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'SEPretrained: {self.checkpoint}')

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
    fitting = {
        key: tensor
        for key, tensor in weights.items()
        if key in expected and tensor.shape == expected[key].shape
    }
    detector.load_state_dict(fitting, strict=False)
    message = f'{len(fitting)}/{len(expected)} keys of the rest of the detector'
    started_anew = [key for key in expected if key not in fitting]
    return message + (f'; started anew: {_named(started_anew)}' if started_anew else '')


def _first_stages(weights: StateDict, num_stages: int) -> StateDict:
    """Leave out the stages that a backbone with fewer than four does without."""
    beyond = tuple(f'layer{stage}.' for stage in range(num_stages + 1, 5))
    return {key: tensor for key, tensor in weights.items() if not key.startswith(beyond)}


def _check_fit(
    backbone: nn.Module, weights: StateDict, source: str, wanted: dict[str, Any]
) -> None:
    expected = backbone.state_dict()
    missing = [k for k in expected if k not in weights and not ADDED_BY_OPTIONS.search(k)]
    unexpected = [key for key in weights if key not in expected]
    misshapen = [
        f'{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}'
        for key in weights
        if key in expected and weights[key].shape != expected[key].shape
    ]
    problems = [
        f'{len(keys)} {what}: {_named(keys)}'
        for what, keys in (
            ('missing', missing),
            ('unexpected', unexpected),
            ('of another shape', misshapen),
        )
        if keys
    ]
    if problems:
        raise UsageError(
            f'The weights of {source} do not fit {type(backbone).__name__}: {"; ".join(problems)}. '
            f'They are of\n{as_text(wanted)}\nCheck these arguments of the backbone, and stages '
            'in se_cfg.'
        )


def _named(keys: list[str]) -> str:
    return ', '.join(keys[:NAMED]) + (', ...' if len(keys) > NAMED else '')
