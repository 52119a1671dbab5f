"""The attentions that can take the slot of SE in a block: ``se_cfg=dict(type=...)``."""

import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from se_det.errors import UsageError
from se_det.layers.squeeze_excitation import ChannelAttention, Convolution, SqueezeExcitation


class EfficientChannelAttention(ChannelAttention):
    """ECA (arXiv 1910.03151): a gate from each channel's mean and those of its neighbours.

    Args:
        channels: C of the input. The kernel is the odd number next to ``(log2(C) + 1) / 2``, at
            least 3 (the paper's equation 12 with gamma 2 and b 1, rounded as in its code).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = int((math.log2(channels) + 1) / 2)
        size = max(size if size % 2 else size + 1, 3)
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)
        self.gate_act = nn.Sigmoid()

    def excite(self, z: Tensor) -> Tensor:
        """The gate ``sigmoid(conv1d(z))``, in the shape of ``z`` (equation 5)."""
        line, weight = z.flatten(1)[:, None], self.conv.weight.to(z.dtype)
        logits = F.conv1d(line, weight, padding=self.conv.padding)
        return self.gate_act(logits.view_as(z))


class EffectiveSqueezeExcitation(ChannelAttention):
    """VoVNetV2's eSE (arXiv 1911.06667, section 3.3): one layer, without reduction.

    Args:
        channels: C of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = Convolution(channels, channels, kernel_size=1)
        self.gate_act = nn.Hardsigmoid()

    def excite(self, z: Tensor) -> Tensor:
        """The gate ``hardsigmoid(W z)``, in the shape of ``z``."""
        return self.gate_act(self.fc(z))


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
