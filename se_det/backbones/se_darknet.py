"""SE-Darknet: MMDetection's Darknet with SE."""

from collections.abc import Sequence
from typing import ClassVar

from mmdet.models.backbones.darknet import Darknet, ResBlock
from mmdet.registry import MODELS

from se_det.backbones.gated_blocks import SEConvModule
from se_det.backbones.se_backbone import SEBackbone


@MODELS.register_module()
class SEDarknet(SEBackbone, Darknet):
    """Darknet-53 (YOLOv3, arXiv 1804.02767) with SE; arguments as in `SEBackbone`."""

    se_blocks: ClassVar = {ResBlock: ('conv2', SEConvModule)}

    @property
    def se_stages(self) -> Sequence[str]:
        """The five stages after the first convolution."""
        return self.cr_blocks[1:]
