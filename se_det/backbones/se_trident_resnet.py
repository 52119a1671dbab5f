"""SE in the ResNet of TridentNet, whose last stage has branches of several dilations."""

from typing import ClassVar

from mmdet.models.backbones.resnet import Bottleneck
from mmdet.models.backbones.trident_resnet import TridentBottleneck, TridentResNet
from mmdet.registry import MODELS

from se_det.backbones.gated_blocks import SEAfterNorm3
from se_det.backbones.se_backbone import SEBackbone
from se_det.backbones.se_resnet import SEBottleneck


class SETridentBottleneck(SEAfterNorm3, TridentBottleneck):
    """TridentNet's Bottleneck with SE, one for all branches."""


@MODELS.register_module()
class SETridentResNet(SEBackbone, TridentResNet):
    """TridentNet's ResNet (arXiv 1901.01892) with SE; arguments as in `SEBackbone`."""

    se_blocks: ClassVar = {
        Bottleneck: ('', SEBottleneck),
        TridentBottleneck: ('', SETridentBottleneck),
    }
