"""ResNets and their SE twins from several libraries, in the ways in which a user can run them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.models.layers import SELayer
from mmdet.registry import MODELS
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval_for_single_model
from torch import Tensor, nn

PLAIN = 'mmdet ResNet'
FROZEN = dict(frozen_stages=1, norm_eval=True)  # as in mmdet's configs
FROM_SCRATCH = dict(frozen_stages=-1, norm_eval=False)
BACKBONES = {
    'r50': dict(depth=50),
    'r101': dict(depth=101),
    'r152': dict(depth=152),
    'x50': dict(depth=50, groups=32, base_width=4),
    'x101': dict(depth=101, groups=32, base_width=4),
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
    shape = BACKBONES[backbone]
    options = FROM_SCRATCH if from_scratch else FROZEN
    grouped = 'groups' in shape
    kind = 'ResNeXt' if grouped else 'ResNet'

    def plain() -> nn.Module:
        return MODELS.build(dict(type=kind, **shape, **options))

    def ours(**se_cfg: Any) -> nn.Module:
        return MODELS.build(dict(type=f'SE{kind}', se_cfg=se_cfg, **shape, **options))

    peers = {PLAIN: plain, "mmdet ResNet + mmdet's SELayer": lambda: _with_se_layers(plain())}
    try:
        from mmpretrain.models import SEResNet, SEResNeXt
    except (ImportError, AssertionError):  # the latter if it requires another mmcv
        pass
    else:
        widths = dict(groups=32, width_per_group=4) if grouped else {}
        peers['mmpretrain'] = lambda: (SEResNeXt if grouped else SEResNet)(
            shape['depth'], out_indices=(0, 1, 2, 3), **widths, **options
        )
    try:
        import timm
    except ImportError:
        pass
    else:
        name = f'seresnext{shape["depth"]}_32x4d' if grouped else f'seresnet{shape["depth"]}'
        peers['timm'] = lambda: _TimmBackbone(
            timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4)), from_scratch
        )
    found = {}
    for library, build in peers.items():
        found[library] = Contender(build)
        found[f'{library}, channels_last'] = Contender(build, channels_last=True)
        if not from_scratch:
            found[f'{library}, efficient_conv_bn_eval'] = Contender(build, False, True)
            found[f'{library}, channels_last, efficient_conv_bn_eval'] = Contender(
                build, True, True
            )
    found['se_det'] = Contender(ours)
    found['se_det, channels_last'] = Contender(ours, channels_last=True)
    found['se_det, fused=False'] = Contender(lambda: ours(fused=False))
    return found


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
            for part in (model.conv1, model.bn1, model.layer1):
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> '_TimmBackbone':
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not self.from_scratch:
                module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.model(images)
