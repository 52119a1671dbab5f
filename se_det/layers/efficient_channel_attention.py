"""Efficient Channel Attention (ECA-Net, arXiv 1910.03151) in the slot of SE."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from se_det.layers.channel_attention import ChannelAttention


class EfficientChannelAttention(ChannelAttention):
    """A gate from each channel's mean and those of its neighbours: ``sigmoid(conv1d(z))``.

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

    def excite(self, z: Tensor, *parameters: Tensor) -> Tensor:
        """The gate ``(N, C)`` of a squeezed ``z`` ``(N, C)`` (equation 5)."""
        (weight,) = parameters
        padding = self.conv.padding
        return self.gate_act(F.conv1d(z[:, None], weight.to(z.dtype), padding=padding)[:, 0])
