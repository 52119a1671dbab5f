"""Backbones and their SE twins from several libraries, in the ways in which a user can run them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from typing import Any

import torch
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.models.layers import SELayer
from mmdet.registry import MODELS
from mmengine.hub import get_config
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval_for_single_model
from torch import Tensor, nn

from se_det.backbones import SERegNet

PLAIN = 'mmdet, plain'
FROZEN = dict(frozen_stages=1, norm_eval=True)  # as in mmdet's configs
FROM_SCRATCH = dict(frozen_stages=-1, norm_eval=False)
HRNET = 'mmdet::hrnet/faster-rcnn_hrnetv2p-w18-1x_coco.py'
BACKBONES = {
    'r50': dict(type='ResNet', depth=50),
    'r101': dict(type='ResNet', depth=101),
    'r152': dict(type='ResNet', depth=152),
    'x50': dict(type='ResNeXt', depth=50, groups=32, base_width=4),
    'x101': dict(type='ResNeXt', depth=101, groups=32, base_width=4),
    'regnetx': dict(type='RegNet', arch='regnetx_3.2gf'),
    'regnety': dict(type='RegNet', arch='regnety_3.2gf'),
    'hrnet': dict(type='HRNet'),  # its `extra` is that of the config HRNET
    'mobilenetv2': dict(type='MobileNetV2', out_indices=(1, 2, 4, 6)),
}

TIMM = {
    'r50': 'seresnet50',
    'r101': 'seresnet101',
    'r152': 'seresnet152',
    'x50': 'seresnext50_32x4d',
    'x101': 'seresnext101_32x4d',
    'regnety': 'regnety_032',
}


@dataclass(frozen=True)
class Contender:
    """A backbone and how it is run.

    Attributes:
        build: makes the backbone.
        channels_last: whether its weights are in channels_last.
        efficient_conv_bn_eval: whether mmengine's option of that name is on, which folds each batch
            norm in evaluation mode into the convolution before it.
    """

    build: Callable[[], nn.Module]
    channels_last: bool = False
    efficient_conv_bn_eval: bool = False

    def prepare(self, model: nn.Module, backbone: nn.Module) -> None:
        """Apply the settings to a model, which is ``backbone`` or has it within."""
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.efficient_conv_bn_eval:
            turn_on_efficient_conv_bn_eval_for_single_model(backbone)


def contenders(backbone: str, from_scratch: bool = False) -> dict[str, Contender]:
    """All contenders by name.

    Args:
        backbone: a key of `BACKBONES`.
        from_scratch: train all stages and batch norms, instead of freezing as mmdet's configs do.

    Returns:
        ``'<library>'``, ``'<library>, channels_last'`` and so on; timm and mmpretrain are left out
        where they are not installed.
    """
    shape = dict(BACKBONES[backbone])
    kind = shape.pop('type')
    options = FROM_SCRATCH if from_scratch else FROZEN
    if kind == 'HRNet':
        shape['extra'] = get_config(HRNET).model.backbone.extra
        options = dict(norm_eval=options['norm_eval'])

    def plain() -> nn.Module:
        arguments = dict(shape)
        if backbone == 'regnety':
            arguments['arch'] = SERegNet.arch_settings[shape['arch']]
        return MODELS.build(dict(type=kind, **arguments, **options))

    def ours(**se_cfg: Any) -> nn.Module:
        return MODELS.build(dict(type=f'SE{kind}', se_cfg=se_cfg, **shape, **options))

    peers = {PLAIN: plain, **_peers(backbone, plain, from_scratch)}
    found = {}
    for library, build in peers.items():
        for last, folded in product((False, True), (False,) if from_scratch else (False, True)):
            name = f'{library}{", channels_last" * last}{", efficient_conv_bn_eval" * folded}'
            found[name] = Contender(build, last, folded)
    found['se_det'] = Contender(ours)
    found['se_det, channels_last'] = Contender(ours, channels_last=True)
    if not from_scratch:
        found['se_det, efficient_conv_bn_eval'] = Contender(ours, efficient_conv_bn_eval=True)
    found['se_det, fused=True'] = Contender(lambda: ours(fused=True))  # on a CPU the default
    found['se_det, fused=False'] = Contender(lambda: ours(fused=False))
    return found


def _peers(
    backbone: str, plain: Callable[[], nn.Module], from_scratch: bool
) -> dict[str, Callable[[], nn.Module]]:
    """The same backbone with SE by others, those that are installed."""
    shape = BACKBONES[backbone]
    depth, grouped = shape.get('depth'), 'groups' in shape
    options = FROM_SCRATCH if from_scratch else FROZEN
    peers: dict[str, Callable[[], nn.Module]] = {}
    if depth:
        peers["mmdet + mmdet's SELayer"] = lambda: _with_se_layers(plain())
        try:
            from mmpretrain.models import SEResNet, SEResNeXt
        except (ImportError, AssertionError):  # the latter if it requires another mmcv
            pass
        else:
            widths = dict(groups=32, width_per_group=4) if grouped else {}
            peers['mmpretrain'] = lambda: (SEResNeXt if grouped else SEResNet)(
                depth, out_indices=(0, 1, 2, 3), **widths, **options
            )
    if backbone in TIMM and find_spec('timm'):
        import timm

        name = TIMM[backbone]
        peers['timm'] = lambda: _TimmBackbone(
            timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4)), from_scratch
        )
    return peers


def _with_se_layers(resnet: nn.Module) -> nn.Module:
    for block in resnet.modules():
        if isinstance(block, Bottleneck):
            block.with_plugins = True
            block.after_conv1_plugin_names = block.after_conv2_plugin_names = []
            block.after_conv3_plugin_names = ['se']
            block.se = SELayer(block.conv3.out_channels)
    resnet._freeze_stages()
    return resnet


class _TimmBackbone(nn.Module):
    """timm's; its first stage and its batch norms are frozen as mmdet freezes them, or nothing."""

    def __init__(self, model: nn.Module, from_scratch: bool) -> None:
        super().__init__()
        self.model = model
        self.from_scratch = from_scratch
        if not from_scratch:
            frozen = ('conv1', 'bn1', 'layer1', 'stem', 's1')
            for part in (getattr(model, name) for name in frozen if hasattr(model, name)):
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> '_TimmBackbone':
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not self.from_scratch:
                module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.model(images)
