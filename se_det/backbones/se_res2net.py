"""SE-Res2Net: MMDetection's Res2Net with SE."""

from typing import ClassVar

from mmdet.models.backbones.res2net import Bottle2neck, Res2Net
from mmdet.registry import MODELS

from se_det.backbones.gated_blocks import SEAfterNorm3
from se_det.backbones.se_backbone import SEBackbone


class SEBottle2neck(SEAfterNorm3, Bottle2neck):
    """MMDetection's Bottle2neck with SE."""


@MODELS.register_module()
class SERes2Net(SEBackbone, Res2Net):
    """Res2Net (arXiv 1904.01169) with SE; arguments as in `SEBackbone`."""

    se_blocks: ClassVar = {Bottle2neck: ('', SEBottle2neck)}
