"""The attentions that can take the slot of SE in a block: ``se_cfg=dict(type=...)``."""

from collections.abc import Callable

from torch import nn

from se_det.errors import UsageError
from se_det.layers.effective_squeeze_excitation import EffectiveSqueezeExcitation
from se_det.layers.efficient_channel_attention import EfficientChannelAttention
from se_det.layers.squeeze_excitation import SqueezeExcitation


def _of_timm(name: str) -> Callable[[int, int], nn.Module]:
    """A layer of timm, which knows nothing of the padding of a batch."""

    def build(channels: int, reduction: int) -> nn.Module:
        try:
            from timm.layers import create_attn
        except ImportError as error:
            raise UsageError(
                f"se_cfg=dict(type='{name}') is timm's layer, and timm is not installed. Type "
                'pip install timm'
            ) from error
        return create_attn(name.lower(), channels, rd_ratio=1 / reduction, rd_divisor=1)

    return build


# Each maps (N, C, H, W) to (N, C, H, W). Arguments: C, and C by the channels of the hidden layer.
ATTENTIONS: dict[str, Callable[[int, int], nn.Module]] = {
    'SE': SqueezeExcitation,
    'ECA': lambda channels, reduction: EfficientChannelAttention(channels),
    'eSE': lambda channels, reduction: EffectiveSqueezeExcitation(channels),
    'CBAM': _of_timm('CBAM'),  # arXiv 1807.06521
    'GC': _of_timm('GC'),  # the Global Context block, arXiv 1904.11492
}
