"""SE-HRNet: MMDetection's HRNet with SE."""

from collections.abc import Sequence
from typing import ClassVar

from mmdet.models.backbones.hrnet import HRNet
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck
from mmdet.registry import MODELS

from se_det.backbones.se_backbone import SEBackbone
from se_det.backbones.se_resnet import SEBasicBlock, SEBottleneck


@MODELS.register_module()
class SEHRNet(SEBackbone, HRNet):
    """HRNet (arXiv 1908.07919) with SE; arguments as in `SEBackbone`."""

    se_blocks: ClassVar = {BasicBlock: ('', SEBasicBlock), Bottleneck: ('', SEBottleneck)}

    @property
    def se_stages(self) -> Sequence[str]:
        """The first stage, of one resolution, and those of two, three and four."""
        return 'layer1', 'stage2', 'stage3', 'stage4'
