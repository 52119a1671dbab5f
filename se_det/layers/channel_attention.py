"""Layers that scale each channel by a gate computed from the channels' means."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from se_det.layers.padding import channel_means, pixel_shares
from se_det.layers.precision import autocast_off, vector_dtype


class ChannelAttention(nn.Module):
    """``x`` times a gate, which `excite` computes from the mean of each channel.

    The mean is over the image alone where sizes say what is padding. All but the maps is computed
    in float32 or more, so that gates are finite wherever the map is.
    """

    def excite(self, z: Tensor, *parameters: Tensor) -> Tensor:
        """The gate ``(N, C)`` of the channels' means ``z`` ``(N, C)``, from the parameters."""
        raise NotImplementedError

    @property
    def is_of_means(self) -> bool:
        """Whether the gate is ``excite`` of the means; fused paths need that."""
        return True

    def gate(self, x: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Squeeze and excite: ``(N, C, H, W)`` to a gate, ``(N, C, 1, 1)`` if it is of means."""
        # torch.fx traces with a proxy for x, without a dtype.
        like = x if isinstance(x, Tensor) else next(self.parameters())
        dtype = vector_dtype(like)
        with autocast_off(like):
            return self.gate_of_map(x, sizes, dtype)

    def gate_of_map(self, x: Tensor, sizes: Tensor | None, dtype: torch.dtype) -> Tensor:
        """As `gate`, in a given precision and without autocast."""
        z = channel_means(x, pixel_shares(sizes, x, dtype), dtype)
        return self.excite(z, *self.parameters())[..., None, None]

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


def excite_backward(
    attention: ChannelAttention, gradient: Tensor, z: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Backward of ``attention.excite(z, *parameters)`` from the gradient of the gate, ``(N, C)``.

    The gate is computed again: its graph would otherwise be built in each forward, and activation
    checkpointing would compute a block once more for it.

    Returns:
        The gradient of ``z``, and those of the parameters.
    """
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in (z, *parameters)]
        gate = attention.excite(*inputs)
    return torch.autograd.grad(gate, inputs, gradient)
