"""MMDetection's convolutional backbones with SE, registered in ``mmdet.registry.MODELS``."""

from se_det.backbones.blocks import SEBasicBlock, SEBottleneck, SEResNeXtBottleneck
from se_det.backbones.others import (
    SESSDVGG,
    SECSPDarknet,
    SEDarknet,
    SEDetectoRS_ResNet,
    SEDetectoRS_ResNeXt,
    SEHourglassNet,
    SEHRNet,
    SEMobileNetV2,
    SERegNet,
    SERes2Net,
    SETridentResNet,
)
from se_det.backbones.se_backbone import SEBackbone
from se_det.backbones.se_resnet import SENet, SEResNet, SEResNeXt

__all__ = [
    'SESSDVGG',
    'SEBackbone',
    'SEBasicBlock',
    'SEBottleneck',
    'SECSPDarknet',
    'SEDarknet',
    'SEDetectoRS_ResNeXt',
    'SEDetectoRS_ResNet',
    'SEHRNet',
    'SEHourglassNet',
    'SEMobileNetV2',
    'SENet',
    'SERegNet',
    'SERes2Net',
    'SEResNeXt',
    'SEResNeXtBottleneck',
    'SEResNet',
    'SETridentResNet',
]
