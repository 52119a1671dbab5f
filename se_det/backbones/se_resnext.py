"""SE-ResNeXt: mmdet's ResNeXt with a Squeeze-and-Excitation block in each residual branch."""

from typing import Any, ClassVar

from mmdet.models.backbones.resnet import Bottleneck, ResNet
from mmdet.models.backbones.resnext import Bottleneck as ResNeXtBottleneck
from mmdet.models.backbones.resnext import ResNeXt
from mmdet.registry import MODELS
from torch import nn

from se_det.backbones.paths import record_methods
from se_det.backbones.se_resnet import BLOCK_METHODS, SEBottleneck, SEResNet


class SEResNeXtBottleneck(SEBottleneck, ResNeXtBottleneck):
    """mmdet's ResNeXt Bottleneck, whose 3x3 convolution is grouped, with SE.

    Args:
        inplanes: channels of the input.
        planes: a quarter of the output's channels.
        reduction: r of `SqueezeExcitation`.
        **kwargs: as mmdet's ResNeXt Bottleneck.
    """


record_methods(SEResNeXtBottleneck, *BLOCK_METHODS, 'norm1', 'norm2', 'norm3')


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
