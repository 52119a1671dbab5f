"""SE-Hourglass: MMDetection's HourglassNet with SE."""

from collections.abc import Sequence
from typing import ClassVar

from mmdet.models.backbones.hourglass import HourglassNet
from mmdet.models.backbones.resnet import BasicBlock
from mmdet.registry import MODELS

from se_det.backbones.se_backbone import SEBackbone
from se_det.backbones.se_resnet import SEBasicBlock


@MODELS.register_module()
class SEHourglassNet(SEBackbone, HourglassNet):
    """The stacked hourglass (arXiv 1603.06937) with SE; arguments as in `SEBackbone`."""

    se_blocks: ClassVar = {BasicBlock: ('', SEBasicBlock)}

    @property
    def se_stages(self) -> Sequence[str]:
        """The stem, the hourglasses, and the blocks between hourglasses."""
        return 'stem', 'hourglass_modules', 'inters'
