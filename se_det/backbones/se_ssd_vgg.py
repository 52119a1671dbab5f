"""SE-VGG: the VGG of SSD with SE after the ReLU of each convolution."""

from collections.abc import Iterator, Sequence

from mmdet.models.backbones.ssd_vgg import SSDVGG
from mmdet.registry import MODELS
from torch import Tensor, nn

from se_det.backbones.gated_blocks import GatedBlock
from se_det.backbones.se_backbone import SEBackbone


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
