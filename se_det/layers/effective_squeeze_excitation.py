"""The effective Squeeze-and-Excitation of VoVNetV2 (CenterMask, arXiv 1911.06667, section 3.3)."""

from torch import Tensor, nn
from torch.nn import functional as F

from se_det.layers.channel_attention import ChannelAttention
from se_det.layers.squeeze_excitation import Convolution


class EffectiveSqueezeExcitation(ChannelAttention):
    """A gate from one layer without reduction: ``hardsigmoid(W z)``.

    Args:
        channels: C of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = Convolution(channels, channels, kernel_size=1)
        self.gate_act = nn.Hardsigmoid()

    def excite(self, z: Tensor, *parameters: Tensor) -> Tensor:
        """The gate ``(N, C)`` of a squeezed ``z`` ``(N, C)``."""
        weight, bias = (p.to(z.dtype) for p in parameters)
        return self.gate_act(F.linear(z, weight.flatten(1), bias))
