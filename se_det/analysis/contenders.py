"""Ways to have a ResNet and its SE twin, each from its library, to be measured side by side."""

from collections.abc import Callable
from typing import Any

from mmdet.models.backbones.resnet import Bottleneck
from mmdet.models.layers import SELayer
from mmdet.registry import MODELS
from torch import Tensor, nn

from se_det.layers import folded_convolution

PLAIN = 'mmdet ResNet'
FROZEN = dict(frozen_stages=1, norm_eval=True)  # as in mmdet's configs
BACKBONES = {
    'r50': dict(depth=50),
    'r101': dict(depth=101),
    'r152': dict(depth=152),
    'x50': dict(depth=50, groups=32, base_width=4),
    'x101': dict(depth=101, groups=32, base_width=4),
}


def contenders(backbone: str) -> dict[str, Callable[[], nn.Module]]:
    """Ways to have a backbone and its SE twin, each from its library.

    Args:
        backbone: a key of `BACKBONES`.

    Returns:
        Names and what builds them; timm and mmpretrain are left out where they are not installed.
    """
    shape = BACKBONES[backbone]
    depth, grouped = shape['depth'], 'groups' in shape
    kind = 'ResNeXt' if grouped else 'ResNet'

    def plain() -> nn.Module:
        return MODELS.build(dict(type=kind, **shape, **FROZEN))

    def ours(**se_cfg: Any) -> nn.Module:
        return MODELS.build(dict(type=f'SE{kind}', se_cfg=se_cfg, **shape, **FROZEN))

    found = {
        PLAIN: plain,
        'the floor: batch norm folded, no SE': lambda: _folded(ours(stages=[False] * 4)),
        'se_det': ours,
        'se_det, fused=False': lambda: ours(fused=False),
        "mmdet ResNet + mmdet's SELayer": lambda: _with_se_layers(plain()),
    }
    try:
        from mmpretrain.models import SEResNet, SEResNeXt
    except (ImportError, AssertionError):  # the latter where it wants another mmcv
        pass
    else:
        widths = dict(groups=32, width_per_group=4) if grouped else {}
        found['mmpretrain'] = lambda: (SEResNeXt if grouped else SEResNet)(
            depth, out_indices=(0, 1, 2, 3), **widths, **FROZEN
        )
    try:
        import timm
    except ImportError:
        pass
    else:
        name = f'seresnext{depth}_32x4d' if grouped else f'seresnet{depth}'
        found['timm'] = lambda: _TimmBackbone(
            timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4))
        )
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


def _folded(resnet: nn.Module) -> nn.Module:
    for block in resnet.modules():
        if isinstance(block, Bottleneck):
            block.__class__ = _FoldedBottleneck
    return resnet


class _FoldedBottleneck(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        identity = x
        if self.downsample is not None:
            identity = folded_convolution(x, *self.downsample, relu=False)
        out = folded_convolution(x, self.conv1, self.norm1, relu=True)
        out = folded_convolution(out, self.conv2, self.norm2, relu=True)
        out = folded_convolution(out, self.conv3, self.norm3, relu=False)
        out += identity
        return self.relu(out)


class _TimmBackbone(nn.Module):
    """timm's, with its first stage and its batch norms frozen as mmdet freezes them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        for part in (model.conv1, model.bn1, model.layer1):
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> '_TimmBackbone':
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.model(images)
