"""SE-ResNet: mmdet's ResNet with a Squeeze-and-Excitation block in each residual branch."""

from operator import attrgetter
from typing import Any, ClassVar

import torch.utils.checkpoint
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from mmdet.registry import MODELS
from torch import Tensor, nn

from se_det.backbones.arguments import check_arguments
from se_det.backbones.gated_blocks import GatedBlock
from se_det.backbones.paths import (
    Path,
    can_fold,
    can_fold_shortcut,
    choose_path,
    is_pointwise,
    record_methods,
)
from se_det.backbones.se_backbone import SEBackbone
from se_det.backbones.se_cfg import SEConfig
from se_det.errors import ArgumentError
from se_det.layers import (
    DEFAULT_REDUCTION,
    SqueezeExcitation,
    folded_convolution,
    gated_norm,
    gated_projection,
)
from se_det.layers.precision import autocast_dtype, is_half

BLOCK_METHODS = ('_forward', 'residual', 'before_last_norm', 'last_norm', 'shortcut')


class SEResidual(GatedBlock):
    """``relu(x + SE(R(x)))``, the standard placement (arXiv 1709.01507, section 3.3, figure 3).

    `SEBasicBlock` and `SEBottleneck` differ in the residual branch R: convolutions, a last norm,
    and mmdet's plugins. Fused paths are of the standard position.
    """

    with_plugins = False
    relu_before_se = False
    position = 'standard'
    fused: bool | None = None

    def __init__(
        self,
        inplanes: int,
        planes: int,
        reduction: int = DEFAULT_REDUCTION,
        relu_before_se: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(inplanes, planes, **kwargs)
        self.se = SqueezeExcitation(planes * self.expansion, reduction)
        self.relu_before_se = relu_before_se

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
        if self.with_cp and x.requires_grad:
            return torch.utils.checkpoint.checkpoint(self._forward, x, use_reentrant=False)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        path = choose_path(self, x)
        if path is Path.FOLDED:
            return self.folded(x)
        if path is Path.LEAN:
            out, identity = self.before_last_norm(x), self.shortcut(x)
            return gated_norm(out, identity, self.last_norm, self.se, self.sizes(out))
        out = self.residual(self.scale(x) if self.position == 'pre' else x)
        if self.relu_before_se:
            out = self.relu(out)
        if self.position == 'standard':
            out = self.scale(out)
        shortcut = self.shortcut(x)
        if self.position == 'identity':
            shortcut = self.scale(shortcut)
        out += shortcut
        out = self.relu(out)
        return self.scale(out) if self.position == 'post' else out

    def shortcut(self, x: Tensor) -> Tensor:
        """``x``, or its projection to the shape of R(x)."""
        return x if self.downsample is None else self.downsample(x)


class SEBasicBlock(SEResidual, BasicBlock):
    """mmdet's BasicBlock (two 3x3 convolutions) with SE; for depths 18 and 34.

    Args:
        inplanes: channels of the input.
        planes: channels of the output.
        reduction: r of `SqueezeExcitation`.
        relu_before_se: end R with a ReLU.
        **kwargs: as mmdet's BasicBlock.
    """

    last_norm = BasicBlock.norm2
    norm_before_se = property(attrgetter('norm2_name'))  # its name in the state dict

    @property
    def se_channels(self) -> int:
        """The channels of the map that SE scales."""
        if self.position == '3x3':
            raise ArgumentError(
                "se_cfg: position='3x3' is of a bottleneck, which depths from 50 on have."
            )
        return self.conv1.in_channels if self.position == 'pre' else self.conv2.out_channels

    def residual(self, x: Tensor) -> Tensor:
        """The residual branch R, without SE."""
        return self.norm2(self.before_last_norm(x))

    def before_last_norm(self, x: Tensor) -> Tensor:
        """R up to its last convolution."""
        return self.conv2(self.relu(self.norm1(self.conv1(x))))

    def folds(self, x: Tensor) -> bool:
        """Never: a squeeze cannot be computed before a 3x3 convolution."""
        return False


class SEBottleneck(SEResidual, Bottleneck):
    """mmdet's Bottleneck (1x1, 3x3, 1x1 convolutions) with SE; for depths 50, 101 and 152.

    Args:
        inplanes: channels of the input.
        planes: channels of the 3x3 convolution, a quarter of the output's.
        reduction: r of `SqueezeExcitation`.
        relu_before_se: end R with a ReLU.
        **kwargs: as mmdet's Bottleneck.
    """

    last_norm = Bottleneck.norm3
    norm_before_se = property(attrgetter('norm3_name'))  # its name in the state dict

    @property
    def se_channels(self) -> int:
        """The channels of the map that SE scales."""
        if self.position == 'pre':
            return self.conv1.in_channels
        return self.conv3.in_channels if self.position == '3x3' else self.conv3.out_channels

    def residual(self, x: Tensor) -> Tensor:
        """The residual branch R, without SE unless that comes after the 3x3 convolution."""
        out = self.norm3(self.before_last_norm(x))
        if self.with_plugins:
            out = self.forward_plugin(out, self.after_conv3_plugin_names)
        return out

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

    def folds(self, x: Tensor) -> bool:
        """Whether the norms have fixed statistics, so that they can go into the convolutions.

        Small maps are not folded, as folding the weights costs more than it saves there: a
        training step of ResNet-50 at 1x256x416 takes 1.02 times plain's with this bound, 1.11
        without.
        """
        return (
            not (torch.is_grad_enabled() and is_half(autocast_dtype(x)))
            and can_fold(self.conv3, self.norm3)
            and is_pointwise(self.conv3)
            and can_fold(self.conv1, self.norm1)
            and can_fold(self.conv2, self.norm2)
            and x[:, 0].numel() // self.stride**2 > self.conv3.out_channels
        )

    def folded(self, x: Tensor) -> Tensor:
        """The block with its norms folded."""
        u = folded_convolution(x, self.conv1, self.norm1, relu=True)
        u = folded_convolution(u, self.conv2, self.norm2, relu=True)
        if can_fold_shortcut(self.downsample):
            identity = folded_convolution(x, *self.downsample, relu=False)
        else:
            identity = self.shortcut(x)
        return gated_projection(u, identity, self.conv3, self.norm3, self.se, self.sizes(u))


record_methods(SEBasicBlock, *BLOCK_METHODS, 'norm1', 'norm2')
record_methods(SEBottleneck, *BLOCK_METHODS, 'norm1', 'norm2', 'norm3')


@MODELS.register_module()
class SEResNet(SEBackbone, ResNet):
    """SE-ResNet 18, 34, 50, 101 or 152 (arXiv 1709.01507, table 1), as a detection backbone.

    All arguments of mmdet's ResNet work: DCN, plugins, ``with_cp``, ``frozen_stages``,
    ``norm_eval``, ``style``, ``deep_stem``, ``avg_down``, ``zero_init_residual``.

    On a CPU the weights are in channels_last, and so are the maps that the backbone computes and
    returns, but for the last, which is contiguous. mmcv's compiled operators need contiguous maps:
    within a backbone with ``dcn``, ``plugins`` or ``conv_cfg`` maps are contiguous, and all
    returned maps are if mmcv is compiled. A move to another device sets the memory format anew;
    set one of your own after it.

    Args:
        depth: 18, 34, 50, 101 or 152.
        se_cfg: ``reduction``, the paper's r, one int or one per stage (default 16); ``stages``,
            one bool per stage, whether its blocks have SE (default all; a stage without SE has
            mmdet's own blocks); ``type``, ``position``, ``squeeze`` and ``gate``, as in `SEConfig`;
            ``relu_before_se``, whether a ReLU ends the residual branch (default no), for weights
            trained so (timm's legacy 18 and 34); ``fused``, whether blocks take paths that compute
            the same, up to rounding, on a CPU in less time and memory (default on a CPU only; True:
            on CUDA too, in less memory and more time). Second derivatives and forward-mode
            differentiation need ``fused=False``.
            ``mask_padding``, whether the squeeze leaves out the padding of a batch (default yes):
            the rows and columns of exact zeros at the bottom and on the right of a normalised
            image, as MMDetection pads. Any other padding counts as part of the image, as it does
            without ``mask_padding``. With it and ``with_cp``, backward has to start from the maps
            that the backbone returned.
        stem_pool: ``'padded'``, the pool of nearly all ResNets, or ``'ceil'``, without padding and
            with the output size rounded up, for weights trained so (timm's legacy ones).
        **kwargs: as mmdet's ResNet.

    Raises:
        ArgumentError: an argument is unknown or not allowed; the message says what is.
    """

    se_blocks: ClassVar = {BasicBlock: ('', SEBasicBlock), Bottleneck: ('', SEBottleneck)}

    def __init__(
        self, depth: int, se_cfg: dict | None = None, stem_pool: str = 'padded', **kwargs: Any
    ) -> None:
        check_arguments(type(self), depth, stem_pool, kwargs)
        self.stem_pool = stem_pool
        super().__init__(depth=depth, se_cfg=se_cfg, **kwargs)
        if stem_pool == 'ceil':
            self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)

    @property
    def relu_before_se(self) -> bool:
        """As in ``se_cfg``."""
        return self.se_cfg.relu_before_se
