"""SE-ResNet: mmdet's ResNet with a Squeeze-and-Excitation block in each residual branch."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch.utils.checkpoint
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from mmdet.registry import MODELS
from torch import Tensor, nn

from se_det.backbones.arguments import check_arguments, reduction_by_stage
from se_det.layers import (
    DEFAULT_REDUCTION,
    SqueezeExcitation,
    can_fold,
    folded_convolution,
    gated_projection,
    gated_residual,
    has_hooks,
)
from se_det.layers.memory_format import chooses_layout, contiguous_output


class SEResidual:
    """``relu(x + SE(R(x)))``, the standard placement (arXiv 1709.01507, section 3.3, figure 3).

    What `SEBasicBlock` and `SEBottleneck` have in common: they differ in R, the residual branch,
    which ends with the last norm (and mmdet's plugins).

    `_plain` is the composition as the paper has it. With ``fused``, the block takes a way that
    costs less and computes the same, where there is one. Where it ``ends_stage``, others than the
    blocks of its stage read what it puts out.
    """

    def __init__(
        self,
        inplanes: int,
        planes: int,
        reduction: int = DEFAULT_REDUCTION,
        relu_before_se: bool = False,
        fused: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(inplanes, planes, **kwargs)
        self.se = SqueezeExcitation(planes * self.expansion, reduction)
        self.relu_before_se = relu_before_se
        self.fused = fused
        self.ends_stage = False

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C_in, H, W)`` to ``(N, C_out, H / stride, W / stride)``."""
        fuses = self.fused and _can_fuse(x, (*self.children(), *self.se.children()))
        forward = self._fused if fuses else self._plain
        if self.with_cp and x.requires_grad:
            return torch.utils.checkpoint.checkpoint(forward, x, use_reentrant=False)
        return forward(x)

    def _plain(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.se(self._residual_before_se(x))
        out += identity
        return self.relu(out)

    def _fused(self, x: Tensor) -> Tensor:
        out = self._residual_before_se(x)
        return gated_residual(self._shortcut(x), out, self.se.logits(out))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self._shortcut_folds():
            return folded_convolution(x, *self.downsample, relu=False)
        return x if self.downsample is None else self.downsample(x)

    def _shortcut_folds(self) -> bool:
        parts = () if self.downsample is None else self.downsample
        return len(parts) == 2 and can_fold(*parts)

    def _residual_before_se(self, x: Tensor) -> Tensor:
        out = self.residual(x)
        return self.relu(out) if self.relu_before_se else out


def _can_fuse(x: Tensor, modules: Iterable[nn.Module]) -> bool:
    """Not while traced or under torch.func, nor where hooks would miss what they wait for."""
    return (
        isinstance(x, Tensor)
        and x.is_floating_point()
        and x.device.type in ('cpu', 'cuda')
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and not any(map(has_hooks, modules))
    )


class SEBasicBlock(SEResidual, BasicBlock):
    """mmdet's BasicBlock (two 3x3 convolutions) with SE; for depths 18 and 34.

    Args:
        inplanes: channels of the input.
        planes: channels of the output.
        reduction: r of `SqueezeExcitation`.
        relu_before_se: end R with a ReLU.
        fused: compute the same at less cost, where that is possible.
        **kwargs: as mmdet's BasicBlock.
    """

    def residual(self, x: Tensor) -> Tensor:
        """The residual branch R, without SE."""
        out = self.relu(self.norm1(self.conv1(x)))
        return self.norm2(self.conv2(out))


class SEBottleneck(SEResidual, Bottleneck):
    """mmdet's Bottleneck (1x1, 3x3, 1x1 convolutions) with SE; for depths 50, 101 and 152.

    Args:
        inplanes: channels of the input.
        planes: channels of the 3x3 convolution, a quarter of the output's.
        reduction: r of `SqueezeExcitation`.
        relu_before_se: end R with a ReLU.
        fused: compute the same at less cost, where that is possible.
        **kwargs: as mmdet's Bottleneck.
    """

    def residual(self, x: Tensor) -> Tensor:
        """The residual branch R, without SE."""
        out = self.relu(self.norm1(self.conv1(x)))
        if self.with_plugins:
            out = self.forward_plugin(out, self.after_conv1_plugin_names)
        out = self.relu(self.norm2(self.conv2(out)))
        if self.with_plugins:
            out = self.forward_plugin(out, self.after_conv2_plugin_names)
        out = self.norm3(self.conv3(out))
        if self.with_plugins:
            out = self.forward_plugin(out, self.after_conv3_plugin_names)
        return out

    def _fused(self, x: Tensor) -> Tensor:
        if not self.folds():
            return super()._fused(x)
        identity = self._shortcut(x)
        out = folded_convolution(x, self.conv1, self.norm1, relu=True)
        out = folded_convolution(out, self.conv2, self.norm2, relu=True)
        # A map that is kept for the way back is kept as those who get it keep it: not twice.
        contiguous = self.ends_stage and chooses_layout(out) and out.requires_grad
        spare = not contiguous and self._shortcut_folds()
        return gated_projection(
            out, identity, self.conv3, self.norm3, self.se, contiguous=contiguous, spare=spare
        )

    def folds(self) -> bool:
        """Whether each convolution takes the batch norm behind it into its weight."""
        return (
            self.fused
            and not self.with_plugins
            and not self.relu_before_se
            and can_fold(self.conv1, self.norm1)
            and can_fold(self.conv2, self.norm2)
            and can_fold(self.conv3, self.norm3)
        )


@MODELS.register_module()
class SEResNet(ResNet):
    """SE-ResNet 18, 34, 50, 101 or 152 (arXiv 1709.01507, table 1), as a detection backbone.

    Everything that mmdet's ResNet does stays: DCN, plugins, ``with_cp``, ``frozen_stages``,
    ``norm_eval``, ``style``, ``deep_stem``, ``avg_down``, ``zero_init_residual``.

    Args:
        depth: 18, 34, 50, 101 or 152.
        se_cfg: ``reduction``, the paper's r, one int or one a stage (default 16); ``stages``,
            one bool a stage, whether its blocks carry SE (default all; a stage without SE is
            built of mmdet's own blocks); ``relu_before_se``, whether a ReLU ends the residual
            branch (default no), for weights that were trained so (timm's legacy 18 and 34);
            ``fused``, whether blocks may take a way that costs less and computes the same up to
            rounding (default yes); second derivatives and forward-mode differentiation need
            ``fused=False``.
        stem_pool: ``'padded'``, the pool of nearly all ResNets, or ``'ceil'``, without padding and
            with the output size rounded up, for weights that were trained so (timm's legacy ones).
        **kwargs: as mmdet's ResNet.

    Raises:
        UsageError: an argument is unknown or not allowed; the message says what is.
    """

    # mmdet's block for a depth -> the block of a stage without SE, and of one with.
    stage_blocks_by_se: ClassVar = {
        BasicBlock: {False: BasicBlock, True: SEBasicBlock},
        Bottleneck: {False: Bottleneck, True: SEBottleneck},
    }

    def __init__(
        self, depth: int, se_cfg: dict | None = None, stem_pool: str = 'padded', **kwargs: Any
    ) -> None:
        check_arguments(type(self), depth, stem_pool, kwargs)
        self.se_reductions = reduction_by_stage(se_cfg, kwargs.get('num_stages', 4))
        self.relu_before_se = bool(se_cfg and se_cfg.get('relu_before_se'))
        self.fused = not se_cfg or se_cfg.get('fused', True)
        self.stem_pool = stem_pool
        super().__init__(depth=depth, **kwargs)
        if stem_pool == 'ceil':
            self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images ``(N, 3, H, W)`` to the feature maps of the stages in ``out_indices``."""
        x = self.maxpool(self._stem(x))
        has_foreign_layers = self.dcn is not None or self.plugins is not None
        if has_foreign_layers:
            x = self._contiguous(x, folded=False)
        outputs = []
        for index, name in enumerate(self.res_layers):
            stage = getattr(self, name)
            x = stage(x)
            folded = isinstance(stage[-1], SEBottleneck) and stage[-1].folds()
            if has_foreign_layers:
                x = self._contiguous(x, folded)
            if index in self.out_indices:
                outputs.append(self._contiguous(x, folded))
        return tuple(outputs)

    def _contiguous(self, x: Tensor, folded: bool) -> Tensor:
        """What code that is not ours gets: compiled operators read maps as if they were so."""
        return contiguous_output(x, folded) if self.fused and _can_fuse(x, ()) else x

    def _stem(self, x: Tensor) -> Tensor:
        if self.deep_stem:
            return self.stem(x)
        if self.fused and can_fold(self.conv1, self.norm1) and _can_fuse(x, [self.relu]):
            return folded_convolution(x, self.conv1, self.norm1, relu=True)
        return self.relu(self.norm1(self.conv1(x)))

    def make_res_layer(self, block: type[nn.Module], **kwargs: Any) -> nn.Module:
        """Build the next stage, of SE blocks if ``se_cfg`` gives it SE.

        ``arch_settings`` keeps mmdet's blocks, and they are exchanged only here, because mmdet
        grants ``zero_init_residual`` to no other classes than its own.
        """
        reduction = self.se_reductions[len(self.res_layers)]
        if reduction is not None:
            kwargs.update(reduction=reduction, relu_before_se=self.relu_before_se, fused=self.fused)
        block = self.stage_blocks_by_se[block][reduction is not None]
        stage = super().make_res_layer(block=block, **kwargs)
        stage[-1].ends_stage = True
        return stage
