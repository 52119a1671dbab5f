"""Blocks of MMDetection with SE.

The blocks of ResNet and its kind have a forward of their own, in which a fused function may compute
the tail. Other blocks keep MMDetection's forward, and have SE after their last norm.
"""

from typing import Any, ClassVar

import torch.utils.checkpoint
from mmcv.cnn import ConvModule
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck
from mmdet.models.backbones.resnext import Bottleneck as ResNeXtBottleneck
from torch import Tensor, nn

from se_det.backbones.fusing import fuses, is_unpatched, record_block
from se_det.backbones.se_cfg import SEConfig
from se_det.errors import ArgumentError
from se_det.layers import Padding, gated_tail, padding_of


class GatedBlock:
    """A mixin before a block: its SE, in ``se``."""

    mask_padding = False  # the backbone sets it

    def add_se(self, config: SEConfig, stage: int) -> None:
        """Give a plain block that was made one of this class its SE.

        Raises:
            ArgumentError: ``se_cfg`` has an option that this block cannot follow.
        """
        if config.position != 'standard' or config.relu_before_se:
            raise ArgumentError(
                f"se_cfg: {type(self).__name__} has SE after its last layer, position='standard', "
                f'without a ReLU; got position={config.position!r}, '
                f'relu_before_se={config.relu_before_se}.'
            )
        self.se = config.layer(self.se_channels, stage)

    def padding_in(self, x: Tensor) -> Padding | None:
        """The padding of the batch in a map; None: none is left out."""
        return padding_of(x) if self.mask_padding else None

    def scale(self, x: Tensor) -> Tensor:
        """SE of a map ``(N, C, H, W)``; a patched or replaced ``se`` is called with ``x`` alone."""
        padding = self.padding_in(x)
        if padding is not None and is_unpatched(self.se):
            return self.se(x, padding)
        return self.se(x)


class SEResidual(GatedBlock):
    """``relu(x + SE(R(x)))``, the standard placement (arXiv 1709.01507, section 3.3, figure 3).

    `SEBasicBlock` and `SEBottleneck` differ in the residual branch R: convolutions, a last norm,
    and MMDetection's plugins.
    """

    relu_before_se = False
    position = 'standard'
    fused: bool | None = None

    def add_se(self, config: SEConfig, stage: int) -> None:
        """Give a plain block that was made one of this class its SE.

        Raises:
            ArgumentError: a block of two 3x3 convolutions has no position ``'3x3'``.
        """
        self.position = config.position
        self.relu_before_se = config.relu_before_se
        self.se = config.layer(self.se_channels, stage, self.reduced_channels)

    @property
    def reduced_channels(self) -> int:
        """The channels that the reduction divides."""
        return self.se_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C_in, H, W)`` to ``(N, C_out, H / stride, W / stride)``."""
        forward = self._forward
        if self.position != 'standard' or self.relu_before_se:
            forward = self._forward_of_variants
        if self.with_cp and x.requires_grad:
            return torch.utils.checkpoint.checkpoint(forward, x, use_reentrant=False)
        return forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        v = self.before_last_norm(x)
        if fuses(self, v):
            return gated_tail(v, self.shortcut(x), self.last_norm, self.se, self.padding_in(v))
        out = self.scale(self.after_last_norm(self.last_norm(v)))
        out += self.shortcut(x)
        return self.relu(out)

    def _forward_of_variants(self, x: Tensor) -> Tensor:
        """SE in another position (figure 5), or after a ReLU."""
        v = self.before_last_norm(self.scale(x) if self.position == 'pre' else x)
        out = self.after_last_norm(self.last_norm(v))
        if self.relu_before_se:
            out = self.relu(out)
        if self.position == 'standard':
            out = self.scale(out)
        shortcut = self.shortcut(x)
        out += self.scale(shortcut) if self.position == 'identity' else shortcut
        out = self.relu(out)
        return self.scale(out) if self.position == 'post' else out

    def shortcut(self, x: Tensor) -> Tensor:
        """``x``, or its projection to the shape of R(x)."""
        return x if self.downsample is None else self.downsample(x)

    def after_last_norm(self, out: Tensor) -> Tensor:
        """What follows the last norm of R."""
        return out


class SEBasicBlock(SEResidual, BasicBlock):
    """MMDetection's BasicBlock (two 3x3 convolutions) with SE; for depths 18 and 34."""

    last_norm = BasicBlock.norm2
    norm_before_se = property(lambda self: self.norm2_name)  # its name in the state dict

    @property
    def se_channels(self) -> int:
        """The channels of the map that SE scales."""
        if self.position == '3x3':
            raise ArgumentError(
                "se_cfg: position='3x3' is of a bottleneck, which depths from 50 on have."
            )
        return self.conv1.in_channels if self.position == 'pre' else self.conv2.out_channels

    def before_last_norm(self, x: Tensor) -> Tensor:
        """R up to its last convolution."""
        return self.conv2(self.relu(self.norm1(self.conv1(x))))


class SEBottleneck(SEResidual, Bottleneck):
    """MMDetection's Bottleneck (1x1, 3x3, 1x1 convolutions) with SE; for depths from 50 on."""

    last_norm = Bottleneck.norm3
    norm_before_se = property(lambda self: self.norm3_name)  # its name in the state dict

    @property
    def se_channels(self) -> int:
        """The channels of the map that SE scales."""
        if self.position == 'pre':
            return self.conv1.in_channels
        return self.conv3.in_channels if self.position == '3x3' else self.conv3.out_channels

    def before_last_norm(self, x: Tensor) -> Tensor:
        """R up to its last convolution."""
        out = self.relu(self.norm1(self.conv1(x)))
        if self.with_plugins:
            out = self.forward_plugin(out, self.after_conv1_plugin_names)
        out = self.relu(self.norm2(self.conv2(out)))
        if self.position == '3x3':
            out = self.scale(out)
        if self.with_plugins:
            out = self.forward_plugin(out, self.after_conv2_plugin_names)
        return self.conv3(out)

    def after_last_norm(self, out: Tensor) -> Tensor:
        """MMDetection's plugins after the last norm."""
        if self.with_plugins:
            out = self.forward_plugin(out, self.after_conv3_plugin_names)
        return out


class SEResNeXtBottleneck(SEBottleneck, ResNeXtBottleneck):
    """MMDetection's ResNeXt Bottleneck, whose 3x3 convolution is grouped, with SE."""


class RegNetYBottleneck(SEResNeXtBottleneck):
    """The block of RegNetY, whose reduction divides the channels of the block's input."""

    @property
    def reduced_channels(self) -> int:
        """The channels that the reduction divides."""
        return self.conv1.in_channels


for _kind in (SEBasicBlock, SEBottleneck, SEResNeXtBottleneck, RegNetYBottleneck):
    record_block(_kind)


class _NormWithSE:
    """A norm that is followed by SE; all else is asked of the norm."""

    def __init__(self, norm: nn.Module, block: GatedBlock) -> None:
        self._norm = norm
        self._block = block

    def __call__(self, x: Tensor) -> Tensor:
        return self._block.scale(self._norm(x))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._norm, name)


class SEAfterNorm(GatedBlock):
    """A mixin before a block: SE after a norm that the block calls by a property.

    MMDetection has the norm's name in the state dict beside that property: ``norm3_name`` beside
    ``norm3``. Here the property returns the norm with SE after it.
    """

    norm_property: ClassVar[str]

    @property
    def norm_before_se(self) -> str | None:
        """The name of the norm in the state dict; None if the block has none."""
        return getattr(self, f'{self.norm_property}_name')

    @property
    def norm_with_se(self) -> _NormWithSE:
        """The norm, with SE."""
        return _NormWithSE(getattr(self, self.norm_before_se), self)

    @property
    def se_channels(self) -> int:
        """The channels of the map that SE scales."""
        if self.norm_before_se is None:
            raise ArgumentError("SE comes after a norm; got none. Set norm_cfg=dict(type='BN').")
        norm = getattr(self, self.norm_before_se)
        return norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.num_features


class SEAfterNorm3(SEAfterNorm):
    """SE after the norm of a bottleneck's last convolution."""

    norm_property = 'norm3'
    norm3 = SEAfterNorm.norm_with_se


class SEConvModule(SEAfterNorm, ConvModule):
    """mmcv's ConvModule with SE between the norm and the activation, if it has one."""

    norm_property = 'norm'
    norm = SEAfterNorm.norm_with_se
