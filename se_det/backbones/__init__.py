"""SE-ResNet and SE-ResNeXt, registered in ``mmdet.registry.MODELS``."""

from se_det.backbones.se_resnet import SEBasicBlock, SEBottleneck, SEResNet
from se_det.backbones.se_resnext import SEResNeXt, SEResNeXtBottleneck

__all__ = ['SEBasicBlock', 'SEBottleneck', 'SEResNeXt', 'SEResNeXtBottleneck', 'SEResNet']
