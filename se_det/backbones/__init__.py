"""MMDetection's convolutional backbones with SE, registered in ``mmdet.registry.MODELS``."""

from se_det.backbones.se_backbone import SEBackbone
from se_det.backbones.se_csp_darknet import SECSPDarknet
from se_det.backbones.se_darknet import SEDarknet
from se_det.backbones.se_detectors_resnet import SEDetectoRS_ResNet, SEDetectoRS_ResNeXt
from se_det.backbones.se_hourglass import SEHourglassNet
from se_det.backbones.se_hrnet import SEHRNet
from se_det.backbones.se_mobilenet_v2 import SEMobileNetV2
from se_det.backbones.se_regnet import SERegNet
from se_det.backbones.se_res2net import SERes2Net
from se_det.backbones.se_resnet import SEBasicBlock, SEBottleneck, SEResNet
from se_det.backbones.se_resnext import SEResNeXt, SEResNeXtBottleneck
from se_det.backbones.se_ssd_vgg import SESSDVGG
from se_det.backbones.se_trident_resnet import SETridentResNet
from se_det.backbones.senet import SENet

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
