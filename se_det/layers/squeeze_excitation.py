"""The Squeeze-and-Excitation block (arXiv 1709.01507, section 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from se_det.errors import UsageError

DEFAULT_REDUCTION = 16  # the paper's r


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate computed from the whole image.

    Three steps, in the paper's terms: *squeeze*, the mean of each channel over H x W (equation 2);
    *excitation*, ``s = sigmoid(W2 relu(W1 z))`` (equation 3); *scale* (equation 4). ``W1`` is
    `fc1`, ``W2`` is `fc2`, both 1x1 convolutions, so that public weights load key for key. Both
    have a bias, as in the paper's released models; the paper's text omits it.

    The mean includes the padding of a batch: the gate of an image depends on how far the other
    images made the batch tensor extend beyond it.

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
        self.fc1 = nn.Conv2d(channels, channels // reduction, kernel_size=1)
        self.act = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(channels // reduction, channels, kernel_size=1)
        self.sigmoid = nn.Sigmoid()

    def matrices(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """``W1`` ``(C / r, C)`` and its bias, ``W2`` ``(C, C / r)`` and its bias."""
        parameters = self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias
        return tuple((p.flatten(1) if p.dim() > 1 else p).to(dtype) for p in parameters)

    def gate(self, x: Tensor) -> Tensor:
        """Squeeze and excite: ``(N, C, H, W)`` to a gate in (0, 1), ``(N, C, 1, 1)``."""
        z = x.mean((2, 3), keepdim=True)
        return self.sigmoid(self.fc2(self.act(self.fc1(z))))

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` ``(N, C, H, W)`` by its gate; returns the same shape."""
        return x * self.gate(x)


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
