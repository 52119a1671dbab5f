"""The Squeeze-and-Excitation block (arXiv 1709.01507, section 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from se_det.layers.channel_attention import ChannelAttention
from se_det.layers.padding import channel_maxima, channel_means, pixel_shares

DEFAULT_REDUCTION = 16  # the paper's r
GATES = dict(sigmoid=nn.Sigmoid, tanh=nn.Tanh, relu=nn.ReLU)


class Convolution(nn.Conv2d):
    """A 1x1 convolution in the precision of its input, whatever that of its weight."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        bias = None if bias is None else bias.to(x.dtype)
        return F.conv2d(x, weight.to(x.dtype), bias)


class SqueezeExcitation(ChannelAttention):
    """Scale each channel by a gate computed from the whole image.

    Three steps, in the paper's terms: *squeeze*, the mean of each channel over H x W (equation 2);
    *excitation*, ``s = sigmoid(W2 relu(W1 z))`` (equation 3); *scale* (equation 4). ``W1`` is
    `fc1`, ``W2`` is `fc2`, both 1x1 convolutions, so that public weights load key for key. Both
    have a bias, as in the paper's released models; the paper's text omits it.

    Args:
        channels: C of the input.
        reduction: r; the hidden layer has ``channels / r`` channels, rounded up.
        squeeze: ``'mean'``; ``'max'`` (section 6.2); None for no squeeze: each pixel has its own
            gate (section 7.1).
        gate: ``'sigmoid'``, ``'tanh'`` or ``'relu'`` (section 6.3).
        hidden: channels of the hidden layer, instead of ``channels / r``.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = DEFAULT_REDUCTION,
        squeeze: str | None = 'mean',
        gate: str = 'sigmoid',
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden or -(-channels // reduction)
        self.squeeze = squeeze
        self.fc1 = Convolution(channels, hidden, kernel_size=1)
        self.act = nn.ReLU(inplace=True)
        self.fc2 = Convolution(hidden, channels, kernel_size=1)
        self.gate_act = GATES[gate]()

    @property
    def is_of_means(self) -> bool:
        """Whether the gate is ``excite`` of the means."""
        return self.squeeze == 'mean' and all(
            fc.kernel_size == (1, 1) and fc.groups == 1 and fc.bias is not None
            for fc in (self.fc1, self.fc2)
        )

    def excite(self, z: Tensor, *parameters: Tensor) -> Tensor:
        """The gate ``(N, C)`` of a squeezed ``z`` ``(N, C)`` (equation 3)."""
        w1, b1, w2, b2 = (p.to(z.dtype) for p in parameters)
        return self.gate_act(F.linear(F.linear(z, w1.flatten(1), b1).relu(), w2.flatten(1), b2))

    def gate_of_map(self, x: Tensor, sizes: Tensor | None, dtype: torch.dtype) -> Tensor:
        """As `gate`, layer by layer; without squeeze ``(N, C, H, W)``."""
        if self.squeeze is None:
            z = x.to(dtype)
        elif self.squeeze == 'max':
            z = channel_maxima(x, sizes).to(dtype)[..., None, None]
        else:
            z = channel_means(x, pixel_shares(sizes, x, dtype), dtype)[..., None, None]
        return self.gate_act(self.fc2(self.act(self.fc1(z))))
