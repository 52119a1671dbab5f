"""The states of the random number generators that a training uses."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def generator_states() -> dict[str, Any]:
    """The states of the generators of Python, NumPy and torch, and of this process's GPU.

    Returns:
        Numbers, strings, lists, tuples and tensors only: `torch.load` reads them with
        ``weights_only=True``.
    """
    states = _cpu_states()
    if torch.cuda.is_initialized():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


def set_generator_states(states: dict[str, Any]) -> None:
    """Set the generators to what `generator_states` returned."""
    version, numbers, gauss = states['python']
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(states['numpy'])
    torch.set_rng_state(states['torch'])
    if 'cuda' in states:
        torch.cuda.set_rng_state(states['cuda'])


class RandomStream:
    """Random numbers that depend on a seed alone, and leave those of others as they are.

    Args:
        *entropy: non-negative integers; equal ones give equal numbers.
    """

    def __init__(self, *entropy: int) -> None:
        self.seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        self.states: dict[str, Any] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within the context, the generators on the CPU continue this stream."""
        outer = _cpu_states()
        if self.states is None:
            random.seed(self.seed)
            np.random.seed(self.seed)
            torch.default_generator.manual_seed(self.seed)  # leaves the GPUs' alone
        else:
            set_generator_states(self.states)
        try:
            yield
        finally:
            self.states = _cpu_states()
            set_generator_states(outer)


def _cpu_states() -> dict[str, Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()
    return dict(
        python=random.getstate(),
        numpy=(name, keys.tolist(), position, has_gauss, cached),
        torch=torch.get_rng_state(),
    )
