"""SE-ResNet, SE-ResNeXt and SENet-154: MMDetection's ResNets with SE in each residual branch."""

from typing import Any, ClassVar

from mmcv.cnn import build_norm_layer
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from mmdet.models.backbones.resnext import Bottleneck as ResNeXtBottleneck
from mmdet.models.backbones.resnext import ResNeXt
from mmdet.registry import MODELS
from torch import nn

from se_det.backbones.blocks import SEBasicBlock, SEBottleneck, SEResNeXtBottleneck
from se_det.backbones.fusing import record_block
from se_det.backbones.se_backbone import SEBackbone
from se_det.errors import ArgumentError


@MODELS.register_module()
class SEResNet(SEBackbone, ResNet):
    """SE-ResNet 18, 34, 50, 101 or 152 (arXiv 1709.01507, table 1), as a detection backbone.

    All arguments of MMDetection's ResNet work: DCN, plugins, ``with_cp``, ``frozen_stages``,
    ``norm_eval``, ``style``, ``deep_stem``, ``avg_down``, ``zero_init_residual``.

    On a CPU the weights are in channels_last, and so are the maps that the backbone computes and
    returns, but for the last, which is contiguous. mmcv's compiled operators need contiguous maps:
    within a backbone with ``dcn``, ``plugins`` or ``conv_cfg`` maps are contiguous, and all
    returned maps are if mmcv is compiled. A move to another device sets the memory format anew;
    set one of your own after it.

    Args:
        depth: 18, 34, 50, 101 or 152.
        se_cfg: the attributes of `SEConfig`, and
            ``reduction``, the paper's r: one int or one per stage (default 16);
            ``stages``: a bool per stage, whether its blocks have SE (default all).
        stem_pool: ``'padded'``, the pool of nearly all ResNets, or ``'ceil'``, without padding and
            with the output size rounded up, for weights trained so (timm's legacy ones).
        **kwargs: as MMDetection's ResNet.

    Raises:
        ArgumentError: an argument is unknown or not allowed; the message says what is.
    """

    se_blocks: ClassVar = {BasicBlock: ('', SEBasicBlock), Bottleneck: ('', SEBottleneck)}
    misfit_hint = (
        'If it is of a plain detector, or in another layout, convert it first and load the '
        'converted file:\n'
        'python -m se_det convert_weights CHECKPOINT detector.pth --graft  (of a plain one)\n'
        'python -m se_det convert_weights CHECKPOINT detector.pth          (of an SE detector)'
    )

    def __init__(
        self, depth: int, se_cfg: dict | None = None, stem_pool: str = 'padded', **kwargs: Any
    ) -> None:
        if stem_pool not in ('padded', 'ceil'):
            raise ArgumentError(f"stem_pool must be 'padded' or 'ceil'; got {stem_pool!r}.")
        self.stem_pool = stem_pool
        super().__init__(depth=depth, se_cfg=se_cfg, **kwargs)
        if stem_pool == 'ceil':
            self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)

    @property
    def relu_before_se(self) -> bool:
        """As in ``se_cfg``."""
        return self.se_cfg.relu_before_se


@MODELS.register_module()
class SEResNeXt(SEResNet, ResNeXt):
    """SE-ResNeXt 26, 50, 101 or 152 (arXiv 1709.01507, table 1), as a detection backbone.

    Args:
        depth: 26, which timm has, 50, 101 or 152.
        groups: groups of the 3x3 convolutions, 32 in 32x4d and 64 in 64x4d.
        base_width: channels of a group in the first stage, the 4 of 32x4d.
        se_cfg: as in `SEResNet`.
        **kwargs: as mmdet's ResNet.

    Raises:
        ArgumentError: an argument is unknown or not allowed; the message says what is.
    """

    arch_settings: ClassVar = {
        26: (Bottleneck, (2, 2, 2, 2)),
        **{depth: ResNet.arch_settings[depth] for depth in (50, 101, 152)},
    }
    se_blocks: ClassVar = {ResNeXtBottleneck: ('', SEResNeXtBottleneck)}

    def make_res_layer(self, **kwargs: Any) -> nn.Module:
        """Build the next stage.

        mmdet applies ``zero_init_residual`` only if ``arch_settings`` has the blocks of ResNet, so
        they are replaced here.
        """
        (block,) = self.se_blocks
        return super().make_res_layer(**{**kwargs, 'block': block})


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


record_block(SEHalfWidthBottleneck)


@MODELS.register_module()
class SENet(SEResNeXt):
    """SENet-154: an SE-ResNeXt-152 64x4d, changed in three ways.

    The stem has three 3x3 convolutions; the first convolution of each block has half the channels;
    the shortcuts that change the size have 3x3 convolutions.

    Args:
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
