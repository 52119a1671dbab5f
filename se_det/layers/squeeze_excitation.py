"""The Squeeze-and-Excitation block (arXiv 1709.01507, section 3)."""

from torch import Tensor, nn

from se_det.errors import UsageError

DEFAULT_REDUCTION = 16  # the paper's r


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate that looks at the whole image.

    Three steps, in the paper's terms: *squeeze*, the mean of each channel over H x W (equation 2);
    *excitation*, ``s = sigmoid(W2 relu(W1 z))`` (equation 3); *scale* (equation 4). ``W1`` is
    `fc1`, ``W2`` is `fc2`, both 1x1 convolutions, so that public weights load key for key. They
    have biases, which the paper's text leaves out and its released models have.

    The mean runs over the whole padded batch tensor: the gate of an image depends on how far the
    images beside it made it be padded.

    Args:
        channels: C of the input.
        reduction: r, the ratio of the bottleneck: the hidden layer has ``channels / reduction``.

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

    def logits(self, x: Tensor) -> Tensor:
        """What `gate` is the sigmoid of, ``(N, C, 1, 1)``."""
        z = x.mean((2, 3), keepdim=True)
        return self.fc2(self.act(self.fc1(z)))

    def gate(self, x: Tensor) -> Tensor:
        """Squeeze and excite: ``(N, C, H, W)`` to a gate in (0, 1), ``(N, C, 1, 1)``."""
        return self.sigmoid(self.logits(x))

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` ``(N, C, H, W)`` by its gate; the same shape comes back."""
        return x * self.gate(x)
