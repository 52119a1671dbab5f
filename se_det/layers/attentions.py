"""The attentions that can take the slot of SE in a block: ``se_cfg=dict(type=...)``."""

from collections.abc import Callable
from typing import Any

from torch import nn

from se_det.errors import UsageError
from se_det.layers.effective_squeeze_excitation import EffectiveSqueezeExcitation
from se_det.layers.efficient_channel_attention import EfficientChannelAttention
from se_det.layers.squeeze_excitation import SqueezeExcitation


def _of_timm(name: str) -> Callable[..., nn.Module]:
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


ATTENTIONS: dict[str, Callable[..., nn.Module]] = {
    'SE': SqueezeExcitation,
    'ECA': lambda channels, reduction: EfficientChannelAttention(channels),
    'eSE': lambda channels, reduction: EffectiveSqueezeExcitation(channels),
    'CBAM': _of_timm('CBAM'),  # arXiv 1807.06521
    'GC': _of_timm('GC'),  # the Global Context block, arXiv 1904.11492
}


def build_attention(kind: str, channels: int, reduction: int, **options: Any) -> nn.Module:
    """Build a layer that maps ``(N, C, H, W)`` to ``(N, C, H, W)``.

    Args:
        kind: a key of `ATTENTIONS`.
        channels: C.
        reduction: channels to those of the hidden layer; ECA and eSE have none.
        **options: those of `SqueezeExcitation`, for SE.

    Raises:
        UsageError: timm is missing.
    """
    return ATTENTIONS[kind](channels, reduction, **options)
