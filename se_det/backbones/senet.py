"""SENet-154, the winner of ILSVRC 2017 (arXiv 1709.01507, section 5.4 and appendix)."""

from typing import Any, ClassVar

from mmcv.cnn import build_norm_layer
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.models.backbones.resnext import Bottleneck as ResNeXtBottleneck
from mmdet.registry import MODELS
from torch import nn

from se_det.backbones.paths import record_methods
from se_det.backbones.se_resnet import BLOCK_METHODS, SEBottleneck
from se_det.backbones.se_resnext import SEResNeXt
from se_det.errors import ArgumentError


class HalfWidthBottleneck(ResNeXtBottleneck):
    """A ResNeXt bottleneck whose first convolution has half the channels of the second."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        half, wide = self.conv1.out_channels // 2, self.conv2
        self.conv1 = nn.Conv2d(self.inplanes, half, 1, self.conv1_stride, bias=False)
        self.add_module(self.norm1_name, build_norm_layer(self.norm_cfg, half, postfix=1)[1])
        geometry = wide.kernel_size, wide.stride, wide.padding, wide.dilation, wide.groups
        self.conv2 = nn.Conv2d(half, wide.out_channels, *geometry, bias=False)


class SEHalfWidthBottleneck(SEBottleneck, HalfWidthBottleneck):
    """The block of SENet-154."""


record_methods(SEHalfWidthBottleneck, *BLOCK_METHODS, 'norm1', 'norm2', 'norm3')


@MODELS.register_module()
class SENet(SEResNeXt):
    """SENet-154: an SE-ResNeXt-152 64x4d, changed in three ways.

    The stem has three 3x3 convolutions; the first convolution of each block has half the channels;
    the shortcuts that change the size have 3x3 convolutions.

    Args:
        depth: 154.
        groups: groups of the 3x3 convolutions.
        stem_channels: channels of the stem's last convolution, twice those of the others.
        deep_stem: whether the stem is as above.
        stem_pool: ``'ceil'`` as in the code of the authors; see `SEResNet`.
        **kwargs: as `SEResNeXt`, but for ``dcn``, ``plugins`` and ``conv_cfg``.

    Raises:
        ArgumentError: an argument is unknown or not allowed; the message says what is.
    """

    arch_settings: ClassVar = {154: (Bottleneck, (3, 8, 36, 3))}
    se_blocks: ClassVar = {HalfWidthBottleneck: ('', SEHalfWidthBottleneck)}

    def __init__(
        self,
        depth: int = 154,
        groups: int = 64,
        stem_channels: int = 128,
        deep_stem: bool = True,
        stem_pool: str = 'ceil',
        **kwargs: Any,
    ) -> None:
        for argument in ('dcn', 'plugins', 'conv_cfg'):
            if kwargs.get(argument) is not None:
                raise ArgumentError(f'SENet takes no {argument}. Remove it, or use SEResNeXt.')
        super().__init__(
            depth=depth,
            groups=groups,
            stem_channels=stem_channels,
            deep_stem=deep_stem,
            stem_pool=stem_pool,
            **kwargs,
        )

    def make_res_layer(self, **kwargs: Any) -> nn.Module:
        """Build the next stage; in all but the first the shortcut has a 3x3 convolution."""
        stage = super().make_res_layer(**kwargs)
        if self.res_layers:
            shortcut = stage[0].downsample
            index = len(shortcut) - 2  # before the norm
            conv = shortcut[index]
            channels = conv.in_channels, conv.out_channels
            shortcut[index] = nn.Conv2d(*channels, 3, conv.stride, padding=1, bias=False)
        return stage
