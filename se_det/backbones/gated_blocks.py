"""Blocks of MMDetection with SE; those that keep their own forward have it after their last norm.

MMDetection's blocks call a norm by a property, which here returns the norm with SE after it.
"""

from typing import Any, ClassVar

from mmcv.cnn import ConvModule
from torch import Tensor, nn

from se_det.backbones.paths import has_original_methods
from se_det.backbones.se_cfg import SEConfig
from se_det.errors import ArgumentError
from se_det.layers import sizes_at


class GatedBlock:
    """A mixin before a block: its SE, in ``se``."""

    mask_padding = False  # the backbone sets it

    def add_se(self, config: SEConfig, stage: int) -> None:
        """Build the block's SE.

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

    def sizes(self, x: Tensor) -> Tensor | None:
        """The rows and columns of each image in a map, ``(N, 2)``; None: no padding is left out."""
        return sizes_at(x) if self.mask_padding else None

    def scale(self, x: Tensor) -> Tensor:
        """SE of a map ``(N, C, H, W)``; a patched or replaced ``se`` is called without sizes."""
        sizes = self.sizes(x)
        if sizes is not None and has_original_methods(self.se):
            return self.se(x, sizes)
        return self.se(x)


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
    ``norm3``.
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
