"""SE-CSPDarknet: MMDetection's CSPDarknet, the backbone of YOLOX, with SE."""

from collections.abc import Sequence

from mmdet.models.backbones.csp_darknet import CSPDarknet
from mmdet.models.layers.csp_layer import DarknetBottleneck
from mmdet.registry import MODELS

from se_det.backbones.gated_blocks import SEConvModule
from se_det.backbones.se_backbone import SEBackbone


@MODELS.register_module()
class SECSPDarknet(SEBackbone, CSPDarknet):
    """CSPDarknet (YOLOX, arXiv 2107.08430) with SE; arguments as in `SEBackbone`."""

    @property
    def se_blocks(self) -> dict[type, tuple[str, type]]:
        """SE after the last norm of a bottleneck, before its activation."""
        part = 'conv2.pointwise_conv' if self.use_depthwise else 'conv2'
        return {DarknetBottleneck: (part, SEConvModule)}

    @property
    def se_stages(self) -> Sequence[str]:
        """The stages after the stem."""
        return self.layers[1:]
