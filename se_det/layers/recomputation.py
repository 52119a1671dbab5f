"""What a backward pass computes again instead of keeping it from the forward pass."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class Recomputed:
    """Small tensors computed again in a backward pass, and the way back through them.

    Args:
        function: from the inputs to a tuple of tensors.
        inputs: its arguments.
        needed: for each of them, whether its gradient will be asked for.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        inputs: Sequence[Any],
        needed: Sequence[bool],
    ) -> None:
        with torch.enable_grad():
            inputs = [
                value.detach().requires_grad_(need) if isinstance(value, Tensor) else value
                for value, need in zip(inputs, needed, strict=True)
            ]
            self._outputs = function(*inputs)
        self._needed = needed
        self._wanted = [value for value, need in zip(inputs, needed, strict=True) if need]
        self.outputs = [output.detach() for output in self._outputs]

    def gradients(self, output_gradients: Sequence[Tensor]) -> list[Tensor | None]:
        """From the gradients of the outputs to one for each input, None where none is needed."""
        if not self._wanted:
            return [None] * len(self._needed)
        reached = [
            (output, gradient)
            for output, gradient in zip(self._outputs, output_gradients, strict=True)
            if output.requires_grad
        ]
        outputs, output_gradients = zip(*reached, strict=True)
        found = iter(torch.autograd.grad(outputs, self._wanted, output_gradients))
        return [next(found) if need else None for need in self._needed]
