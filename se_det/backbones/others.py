"""MMDetection's other convolutional backbones with SE."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from mmdet.models.backbones import detectors_resnet, detectors_resnext
from mmdet.models.backbones.csp_darknet import CSPDarknet
from mmdet.models.backbones.darknet import Darknet, ResBlock
from mmdet.models.backbones.detectors_resnet import DetectoRS_ResNet
from mmdet.models.backbones.detectors_resnext import DetectoRS_ResNeXt
from mmdet.models.backbones.hourglass import HourglassNet
from mmdet.models.backbones.hrnet import HRNet
from mmdet.models.backbones.mobilenet_v2 import MobileNetV2
from mmdet.models.backbones.regnet import RegNet
from mmdet.models.backbones.res2net import Bottle2neck, Res2Net
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck
from mmdet.models.backbones.resnext import Bottleneck as ResNeXtBottleneck
from mmdet.models.backbones.ssd_vgg import SSDVGG
from mmdet.models.backbones.trident_resnet import TridentBottleneck, TridentResNet
from mmdet.models.layers import InvertedResidual
from mmdet.models.layers.csp_layer import DarknetBottleneck
from mmdet.registry import MODELS
from torch import Tensor, nn

from se_det.backbones.blocks import (
    GatedBlock,
    RegNetYBottleneck,
    SEAfterNorm3,
    SEBasicBlock,
    SEBottleneck,
    SEConvModule,
    SEResNeXtBottleneck,
)
from se_det.backbones.se_backbone import SEBackbone


@MODELS.register_module()
class SEHRNet(SEBackbone, HRNet):
    """HRNet (arXiv 1908.07919) with SE."""

    se_blocks: ClassVar = {BasicBlock: ('', SEBasicBlock), Bottleneck: ('', SEBottleneck)}

    @property
    def se_stages(self) -> Sequence[str]:
        """The first stage, of one resolution, and those of two, three and four."""
        return 'layer1', 'stage2', 'stage3', 'stage4'


@MODELS.register_module()
class SEHourglassNet(SEBackbone, HourglassNet):
    """The stacked hourglass (arXiv 1603.06937) with SE."""

    se_blocks: ClassVar = {BasicBlock: ('', SEBasicBlock)}

    @property
    def se_stages(self) -> Sequence[str]:
        """The stem, the hourglasses, and the blocks between hourglasses."""
        return 'stem', 'hourglass_modules', 'inters'


class SEBottle2neck(SEAfterNorm3, Bottle2neck):
    """MMDetection's Bottle2neck with SE."""


@MODELS.register_module()
class SERes2Net(SEBackbone, Res2Net):
    """Res2Net (arXiv 1904.01169) with SE."""

    se_blocks: ClassVar = {Bottle2neck: ('', SEBottle2neck)}


class SETridentBottleneck(SEAfterNorm3, TridentBottleneck):
    """TridentNet's Bottleneck with SE, one for all branches."""


@MODELS.register_module()
class SETridentResNet(SEBackbone, TridentResNet):
    """TridentNet's ResNet (arXiv 1901.01892) with SE."""

    se_blocks: ClassVar = {
        Bottleneck: ('', SEBottleneck),
        TridentBottleneck: ('', SETridentBottleneck),
    }


class SEDetectoRSBottleneck(SEAfterNorm3, detectors_resnet.Bottleneck):
    """DetectoRS' Bottleneck with SE."""


class SEDetectoRSResNeXtBottleneck(SEAfterNorm3, detectors_resnext.Bottleneck):
    """DetectoRS' ResNeXt Bottleneck with SE."""


@MODELS.register_module()
class SEDetectoRS_ResNet(SEBackbone, DetectoRS_ResNet):
    """DetectoRS' ResNet (arXiv 2006.02334) with SE."""

    se_blocks: ClassVar = {
        detectors_resnet.Bottleneck: ('', SEDetectoRSBottleneck),
        detectors_resnext.Bottleneck: ('', SEDetectoRSResNeXtBottleneck),
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
    """DetectoRS' ResNeXt with SE."""


@MODELS.register_module()
class SEDarknet(SEBackbone, Darknet):
    """Darknet-53 (YOLOv3, arXiv 1804.02767) with SE."""

    se_blocks: ClassVar = {ResBlock: ('conv2', SEConvModule)}

    @property
    def se_stages(self) -> Sequence[str]:
        """The five stages after the first convolution."""
        return self.cr_blocks[1:]


@MODELS.register_module()
class SECSPDarknet(SEBackbone, CSPDarknet):
    """CSPDarknet (YOLOX, arXiv 2107.08430) with SE."""

    @property
    def se_blocks(self) -> dict[type, tuple[str, type]]:
        """SE after the last norm of a bottleneck, before its activation."""
        part = 'conv2.pointwise_conv' if self.use_depthwise else 'conv2'
        return {DarknetBottleneck: (part, SEConvModule)}

    @property
    def se_stages(self) -> Sequence[str]:
        """The stages after the stem."""
        return self.layers[1:]


@MODELS.register_module()
class SEMobileNetV2(SEBackbone, MobileNetV2):
    """MobileNetV2 (arXiv 1801.04381) with SE."""

    se_blocks: ClassVar = {InvertedResidual: ('linear_conv', SEConvModule)}

    @property
    def se_stages(self) -> Sequence[str]:
        """The seven groups of inverted residuals."""
        return self.layers[:7]


class SEReLU(GatedBlock, nn.ReLU):
    """A ReLU with SE after it."""

    se_channels: int

    def forward(self, x: Tensor) -> Tensor:
        """``SE(relu(x))`` of ``(N, C, H, W)``."""
        return self.scale(super().forward(x))


@MODELS.register_module()
class SESSDVGG(SEBackbone, SSDVGG):
    """SSD's VGG (arXiv 1512.02325) with SE in the stages of VGG; arguments as in `SEBackbone`.

    SE comes after the ReLU of each convolution (section 3.3 of the SE paper).
    """

    @property
    def se_stages(self) -> Sequence[str]:
        """The five stages of VGG."""
        return [str(stage) for stage in range(len(self.range_sub_modules))]

    @property
    def layers_of_detector(self) -> tuple[str, ...]:
        """SSD's own two convolutions, which files of VGG may lack."""
        end = self.range_sub_modules[-1][1]
        return f'features.{end + 1}.', f'features.{end + 3}.'

    def blocks_for_se(self, stage: str) -> Iterator[tuple[nn.Module, type[nn.Module]]]:
        """The ReLUs of a stage."""
        for index in range(*self.range_sub_modules[int(stage)]):
            relu = self.features[index]
            if isinstance(relu, nn.ReLU):
                relu.se_channels = self.features[index - 1].out_channels
                yield relu, SEReLU

    def attentions(self, stage: str) -> list[nn.Module]:
        """The SE blocks of a stage, from the first to the last."""
        layers = self.features[slice(*self.range_sub_modules[int(stage)])]
        return [layer.se for layer in layers if isinstance(layer, SEReLU)]

    @property
    def layers_before_se(self) -> dict[str, str]:
        """The convolution before each SE: names in the state dict."""
        relus = (i for i, layer in enumerate(self.features) if isinstance(layer, SEReLU))
        return {f'features.{index}.se': f'features.{index - 1}' for index in relus}


def _arch(w0: int, wa: float, wm: float, group_w: int, depth: int) -> dict[str, Any]:
    return dict(w0=w0, wa=wa, wm=wm, group_w=group_w, depth=depth, bot_mul=1.0)


@MODELS.register_module()
class SERegNet(SEBackbone, RegNet):
    """RegNet (arXiv 2003.13678) with SE; arguments as in `SEBackbone`.

    With one of the archs ``'regnety_400mf'`` to ``'regnety_32gf'`` (appendix A of the paper) it is
    RegNetY: ``se_cfg`` then starts from ``position='3x3'`` and ``reduction=4`` of the channels that
    come into the block.
    """

    arch_settings: ClassVar = {
        **RegNet.arch_settings,
        'regnety_400mf': _arch(48, 27.89, 2.09, 8, 16),
        'regnety_800mf': _arch(56, 38.84, 2.4, 16, 14),
        'regnety_1.6gf': _arch(48, 20.71, 2.65, 24, 27),
        'regnety_3.2gf': _arch(80, 42.63, 2.66, 24, 21),
        'regnety_4.0gf': _arch(96, 31.41, 2.24, 64, 22),
        'regnety_6.4gf': _arch(112, 33.22, 2.27, 72, 25),
        'regnety_8.0gf': _arch(192, 76.82, 2.19, 56, 17),
        'regnety_12gf': _arch(168, 73.36, 2.37, 112, 19),
        'regnety_16gf': _arch(200, 106.23, 2.48, 112, 18),
        'regnety_32gf': _arch(232, 115.89, 2.53, 232, 20),
    }

    def __init__(self, arch: str | dict, **kwargs: Any) -> None:
        self.arch = arch
        super().__init__(arch=arch, **kwargs)

    @property
    def is_y(self) -> bool:
        """Whether it is RegNetY."""
        return isinstance(self.arch, str) and self.arch.startswith('regnety')

    @property
    def se_defaults(self) -> dict[str, Any]:
        """RegNetY's SE comes after the 3x3 convolution and has another reduction."""
        return dict(position='3x3', reduction=4) if self.is_y else {}

    @property
    def se_blocks(self) -> dict[type, tuple[str, type]]:
        """RegNetX's block with SE, or RegNetY's."""
        return {ResNeXtBottleneck: ('', RegNetYBottleneck if self.is_y else SEResNeXtBottleneck)}
