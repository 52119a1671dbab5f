"""SE-RegNet: MMDetection's RegNet with SE."""

from typing import ClassVar

from mmdet.models.backbones.regnet import RegNet
from mmdet.models.backbones.resnext import Bottleneck
from mmdet.registry import MODELS

from se_det.backbones.se_backbone import SEBackbone
from se_det.backbones.se_resnext import SEResNeXtBottleneck


@MODELS.register_module()
class SERegNet(SEBackbone, RegNet):
    """RegNet (arXiv 2003.13678) with SE; arguments as in `SEBackbone`."""

    se_blocks: ClassVar = {Bottleneck: ('', SEResNeXtBottleneck)}
