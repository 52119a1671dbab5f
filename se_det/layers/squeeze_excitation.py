"""The Squeeze-and-Excitation block (arXiv 1709.01507, section 3)."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from se_det.layers.padding import Padding, channel_maxima, channel_means

DEFAULT_REDUCTION = 16  # the paper's r
GATES = dict(sigmoid=nn.Sigmoid, tanh=nn.Tanh, relu=nn.ReLU)
GATE_BACKWARD = {
    nn.Sigmoid: torch.ops.aten.sigmoid_backward,
    nn.Tanh: torch.ops.aten.tanh_backward,
    nn.ReLU: lambda gradient, gate: torch.ops.aten.threshold_backward(gradient, gate, 0),
}


class ChannelAttention(nn.Module):
    """``x`` times a gate, which `excite` computes from the mean of each channel.

    The mean is over the image alone where the padding of the batch is known. All but the maps is
    computed in float32 or more, so that gates are finite wherever the map is.
    """

    squeeze: str | None = 'mean'

    def squeezed(self, x: Tensor, padding: Padding | None, dtype: torch.dtype) -> Tensor:
        """Squeeze ``x`` ``(N, C, H, W)`` to its means, ``(N, C, 1, 1)`` (equation 2)."""
        return channel_means(x, padding, dtype)

    def excite(self, z: Tensor) -> Tensor:
        """The gate of what was squeezed, in the shape of ``z``."""
        raise NotImplementedError

    def excite_backward(
        self, gradient: Tensor, z: Tensor, gate: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        """Backward of ``gate = excite(z)`` for ``z`` ``(N, C)``, by autograd.

        Returns:
            The gradient of ``z``, and those of the parameters.
        """
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            inputs = z, *(p for p in parameters if p.requires_grad)
            found = iter(torch.autograd.grad(self.excite(z), inputs, gradient))
        return next(found), *(next(found) if p.requires_grad else None for p in parameters)

    def gate(self, x: Tensor, padding: Padding | None = None) -> Tensor:
        """Squeeze and excite ``x`` ``(N, C, H, W)``.

        Returns:
            The gate: ``(N, C, 1, 1)``, or ``(N, C, H, W)`` without squeeze.
        """
        # torch.fx traces with a proxy for x, without a dtype.
        like = x if isinstance(x, Tensor) else next(self.parameters())
        with autocast_off(like):
            return self.excite(self.squeezed(x, padding, vector_dtype(like)))

    def forward(self, x: Tensor, padding: Padding | None = None) -> Tensor:
        """Scale a map by its gate (equation 4).

        Args:
            x: ``(N, C, H, W)``.
            padding: of the batch in this map; None: there is none.

        Returns:
            ``(N, C, H, W)``.
        """
        gate = self.gate(x) if padding is None else self.gate(x, padding)
        return x * gate.to(x.dtype)


class Convolution(nn.Conv2d):
    """A 1x1 convolution in the precision of its input, whatever that of its weight.

    A single pixel goes through a linear layer: for two images, on a CPU, a convolution takes ten
    times as long forward and five times as long backward.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)``, or ``(N, C)``."""
        weight, bias = self.weight, self.bias
        if weight.dtype is not x.dtype:
            weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
        if isinstance(x, Tensor) and x.shape[2:].numel() == 1:
            out = F.linear(x.flatten(1), weight.flatten(1), bias)
            return out if x.dim() == 2 else out.view(*out.shape, 1, 1)
        return F.conv2d(x, weight, bias)


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
        self.act = nn.ReLU()  # in place on a view its backward would copy four times
        self.fc2 = Convolution(hidden, channels, kernel_size=1)
        self.gate_act = GATES[gate]()

    def squeezed(self, x: Tensor, padding: Padding | None, dtype: torch.dtype) -> Tensor:
        """What `excite` takes: means or maxima ``(N, C, 1, 1)``, or ``x`` itself."""
        if self.squeeze is None:
            return x.to(dtype)
        if self.squeeze == 'max':
            return channel_maxima(x, padding).to(dtype)
        return super().squeezed(x, padding, dtype)

    def excite(self, z: Tensor) -> Tensor:
        """The gate ``s = sigmoid(W2 relu(W1 z))``, in the shape of ``z`` (equation 3)."""
        return self.gate_act(self.fc2(self.act(self.fc1(z))))

    def excite_backward(
        self, gradient: Tensor, z: Tensor, gate: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        """As in `ChannelAttention`; autograd would take 300 us more, 1 % of a step at 256x416."""
        w1, b1, w2, _ = (p.flatten(1) if p.dim() > 1 else p for p in parameters)
        hidden = F.linear(z, w1, b1).relu_()
        of_logits = GATE_BACKWARD[type(self.gate_act)](gradient, gate)
        of_hidden = torch.ops.aten.threshold_backward(of_logits @ w2, hidden, 0)
        of_w1, of_w2 = of_hidden.T @ z, of_logits.T @ hidden
        return (
            of_hidden @ w1,
            of_w1[..., None, None],
            of_hidden.sum(0),
            of_w2[..., None, None],
            of_logits.sum(0),
        )


def autocast_off(x: Tensor) -> AbstractContextManager:
    """A context without autocast on the device of ``x``."""
    if x.is_meta or not torch.is_autocast_enabled(x.device.type):
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def vector_dtype(x: Tensor) -> torch.dtype:
    """The precision of vectors beside a map ``x``: float32, or float64."""
    return torch.float64 if x.dtype is torch.float64 else torch.float32
