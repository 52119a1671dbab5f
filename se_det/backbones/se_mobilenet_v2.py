"""SE-MobileNetV2: MMDetection's MobileNetV2 with SE."""

from collections.abc import Sequence
from typing import ClassVar

from mmdet.models.backbones.mobilenet_v2 import MobileNetV2
from mmdet.models.layers import InvertedResidual
from mmdet.registry import MODELS

from se_det.backbones.gated_blocks import SEConvModule
from se_det.backbones.se_backbone import SEBackbone


@MODELS.register_module()
class SEMobileNetV2(SEBackbone, MobileNetV2):
    """MobileNetV2 (arXiv 1801.04381) with SE; arguments as in `SEBackbone`."""

    se_blocks: ClassVar = {InvertedResidual: ('linear_conv', SEConvModule)}

    @property
    def se_stages(self) -> Sequence[str]:
        """The seven groups of inverted residuals."""
        return self.layers[:7]
