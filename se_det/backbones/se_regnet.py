"""SE-RegNet: MMDetection's RegNet with SE; with SE after the 3x3 convolution it is RegNetY."""

from typing import Any, ClassVar

from mmdet.models.backbones.regnet import RegNet
from mmdet.models.backbones.resnext import Bottleneck
from mmdet.registry import MODELS

from se_det.backbones.paths import record_methods
from se_det.backbones.se_backbone import SEBackbone
from se_det.backbones.se_resnet import BLOCK_METHODS
from se_det.backbones.se_resnext import SEResNeXtBottleneck


class RegNetYBottleneck(SEResNeXtBottleneck):
    """The block of RegNetY, whose reduction divides the channels of the block's input."""

    @property
    def reduced_channels(self) -> int:
        """The channels that the reduction divides."""
        return self.conv1.in_channels


record_methods(RegNetYBottleneck, *BLOCK_METHODS, 'norm1', 'norm2', 'norm3')


def _arch(w0: int, wa: float, wm: float, group_w: int, depth: int) -> dict[str, Any]:
    return dict(w0=w0, wa=wa, wm=wm, group_w=group_w, depth=depth, bot_mul=1.0)


@MODELS.register_module()
class SERegNet(SEBackbone, RegNet):
    """RegNet (arXiv 2003.13678) with SE; arguments as in `SEBackbone`.

    With one of the archs ``'regnety_400mf'`` to ``'regnety_32gf'`` (appendix A of the paper) it is
    RegNetY: ``se_cfg`` then starts from ``position='3x3'`` and ``reduction=4`` of the channels that
    come into the block.
    """

    arch_settings: ClassVar = {
        **RegNet.arch_settings,
        'regnety_400mf': _arch(48, 27.89, 2.09, 8, 16),
        'regnety_800mf': _arch(56, 38.84, 2.4, 16, 14),
        'regnety_1.6gf': _arch(48, 20.71, 2.65, 24, 27),
        'regnety_3.2gf': _arch(80, 42.63, 2.66, 24, 21),
        'regnety_4.0gf': _arch(96, 31.41, 2.24, 64, 22),
        'regnety_6.4gf': _arch(112, 33.22, 2.27, 72, 25),
        'regnety_8.0gf': _arch(192, 76.82, 2.19, 56, 17),
        'regnety_12gf': _arch(168, 73.36, 2.37, 112, 19),
        'regnety_16gf': _arch(200, 106.23, 2.48, 112, 18),
        'regnety_32gf': _arch(232, 115.89, 2.53, 232, 20),
    }

    def __init__(self, arch: str | dict, **kwargs: Any) -> None:
        self.arch = arch
        super().__init__(arch=arch, **kwargs)

    @property
    def is_y(self) -> bool:
        """Whether it is RegNetY."""
        return isinstance(self.arch, str) and self.arch.startswith('regnety')

    @property
    def se_defaults(self) -> dict[str, Any]:
        """RegNetY's SE comes after the 3x3 convolution and has another reduction."""
        return dict(position='3x3', reduction=4) if self.is_y else {}

    @property
    def se_blocks(self) -> dict[type, tuple[str, type]]:
        """RegNetX's block with SE, or RegNetY's."""
        return {Bottleneck: ('', RegNetYBottleneck if self.is_y else SEResNeXtBottleneck)}
