"""The Squeeze-and-Excitation block (arXiv 1709.01507, section 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from se_det.errors import UsageError
from se_det.layers.padding import channel_means, pixel_shares
from se_det.layers.precision import autocast_off, vector_dtype

DEFAULT_REDUCTION = 16  # the paper's r


class Convolution(nn.Conv2d):
    """A 1x1 convolution in the precision of its input, whatever that of its weight."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        bias = None if bias is None else bias.to(x.dtype)
        return F.conv2d(x, weight.to(x.dtype), bias)


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate computed from the whole image.

    Three steps, in the paper's terms: *squeeze*, the mean of each channel over H x W (equation 2);
    *excitation*, ``s = sigmoid(W2 relu(W1 z))`` (equation 3); *scale* (equation 4). ``W1`` is
    `fc1`, ``W2`` is `fc2`, both 1x1 convolutions, so that public weights load key for key. Both
    have a bias, as in the paper's released models; the paper's text omits it.

    The mean is over the image alone where sizes say what is padding. All but the maps is computed
    in float32 or more, so that gates are finite wherever the map is.

    Args:
        channels: C of the input.
        reduction: r; the hidden layer has ``channels / reduction`` channels.

    Raises:
        UsageError: ``reduction`` does not divide ``channels``.
    """

    def __init__(self, channels: int, reduction: int = DEFAULT_REDUCTION) -> None:
        super().__init__()
        if reduction < 1 or channels % reduction:
            raise UsageError(
                f'the SE reduction must divide the channels; {channels} channels cannot be '
                f'reduced by {reduction}. Set se_cfg=dict(reduction=r) with a divisor of '
                f'{channels}.'
            )
        self.fc1 = Convolution(channels, channels // reduction, kernel_size=1)
        self.act = nn.ReLU(inplace=True)
        self.fc2 = Convolution(channels // reduction, channels, kernel_size=1)
        self.sigmoid = nn.Sigmoid()

    def matrices(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """``W1`` ``(C / r, C)`` and its bias, ``W2`` ``(C, C / r)`` and its bias."""
        parameters = self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias
        return tuple((p.flatten(1) if p.dim() > 1 else p).to(dtype) for p in parameters)

    def gate(self, x: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Squeeze and excite: ``(N, C, H, W)`` to a gate in (0, 1), ``(N, C, 1, 1)``."""
        # torch.fx traces with a proxy for x, without a dtype.
        like = x if isinstance(x, Tensor) else next(self.parameters())
        dtype = vector_dtype(like)
        with autocast_off(like):
            z = channel_means(x, pixel_shares(sizes, x, dtype), dtype)[..., None, None]
            return self.sigmoid(self.fc2(self.act(self.fc1(z))))

    def forward(self, x: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Scale a map by its gate.

        Args:
            x: ``(N, C, H, W)``.
            sizes: the rows and columns of each image, ``(N, 2)``; all else is padding. None: none
                is.

        Returns:
            ``(N, C, H, W)``.
        """
        gate = self.gate(x) if sizes is None else self.gate(x, sizes)
        return x * gate.to(x.dtype)


def excite(
    z: Tensor, fc1: Tensor, bias1: Tensor, fc2: Tensor, bias2: Tensor
) -> tuple[Tensor, Tensor]:
    """The excitation of a squeezed ``z`` ``(N, C)``.

    Returns:
        The hidden layer ``(N, C / r)`` and the gate ``(N, C)``.
    """
    hidden = F.linear(z, fc1, bias1).relu()
    return hidden, F.linear(hidden, fc2, bias2).sigmoid()


def excite_backward(
    gradient: Tensor, z: Tensor, hidden: Tensor, gate: Tensor, fc1: Tensor, fc2: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Backward of `excite` from the gradient of the gate, ``(N, C)``.

    Returns:
        The gradient of ``z``, and those of the weight and bias of both layers.
    """
    of_logits = gradient * gate * (1 - gate)
    of_hidden = (of_logits @ fc2) * (hidden > 0)
    of_parameters = of_hidden.T @ z, of_hidden.sum(0), of_logits.T @ hidden, of_logits.sum(0)
    return of_hidden @ fc1, of_parameters
