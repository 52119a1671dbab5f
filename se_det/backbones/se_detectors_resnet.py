"""SE in the ResNet of DetectoRS, which sees the image twice."""

from typing import Any, ClassVar

from mmdet.models.backbones.detectors_resnet import Bottleneck, DetectoRS_ResNet
from mmdet.models.backbones.detectors_resnext import Bottleneck as ResNeXtBottleneck
from mmdet.models.backbones.detectors_resnext import DetectoRS_ResNeXt
from mmdet.registry import MODELS
from torch import Tensor

from se_det.backbones.gated_blocks import SEAfterNorm3
from se_det.backbones.se_backbone import SEBackbone


class SEDetectoRSBottleneck(SEAfterNorm3, Bottleneck):
    """DetectoRS' Bottleneck with SE."""


class SEDetectoRSResNeXtBottleneck(SEAfterNorm3, ResNeXtBottleneck):
    """DetectoRS' ResNeXt Bottleneck with SE."""


@MODELS.register_module()
class SEDetectoRS_ResNet(SEBackbone, DetectoRS_ResNet):
    """DetectoRS' ResNet (arXiv 2006.02334) with SE; arguments as in `SEBackbone`."""

    se_blocks: ClassVar = {
        Bottleneck: ('', SEDetectoRSBottleneck),
        ResNeXtBottleneck: ('', SEDetectoRSResNeXtBottleneck),
    }

    def __init__(self, *args: Any, init_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # MMDetection's class takes no init_cfg but Pretrained
        self._check_arguments(dict(init_cfg=init_cfg))
        self.init_cfg = init_cfg

    def init_weights(self) -> None:
        """Initialise at random, as DetectoRS does, and load the weights that ``init_cfg`` names."""
        super().init_weights()
        if self.init_cfg:
            super(DetectoRS_ResNet, self).init_weights()

    def rfp_forward(self, x: Tensor, rfp_feats: list[Tensor]) -> tuple[Tensor, ...]:
        """The second look at images ``(N, 3, H, W)``, with the features of the first."""
        return self.compute(super().rfp_forward, x, rfp_feats)


@MODELS.register_module()
class SEDetectoRS_ResNeXt(SEDetectoRS_ResNet, DetectoRS_ResNeXt):
    """DetectoRS' ResNeXt with SE; arguments as in `SEBackbone`."""
