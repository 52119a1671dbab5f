"""The scalars of a training run, as mmengine's MessageHub and its checkpoints hold them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

VALIDATED_AT = 'report/validated_at'  # the iterations at which validations ran


@dataclass(frozen=True)
class History:
    """What was logged, iteration by iteration and validation by validation.

    Attributes:
        losses: by name, ``'loss'`` being their sum; one value an iteration.
        learning_rate: one value an iteration.
        seconds: what an iteration took, one value an iteration.
        metrics: mAP, mAP_50 and mAP_75 by name; one value a validation.
        validated_at: the iteration of each validation.
        epoch_length: iterations an epoch; None where training counts iterations only.
    """

    losses: dict[str, np.ndarray] = field(default_factory=dict)
    learning_rate: np.ndarray = field(default_factory=lambda: np.empty(0))
    seconds: np.ndarray = field(default_factory=lambda: np.empty(0))
    metrics: dict[str, np.ndarray] = field(default_factory=dict)
    validated_at: np.ndarray = field(default_factory=lambda: np.empty(0))
    epoch_length: float | None = None

    @classmethod
    def read(cls, log_scalars: Mapping[str, Any], runtime_info: Mapping[str, Any]) -> 'History':
        """Read what a MessageHub holds, or what a checkpoint holds of one.

        Args:
            log_scalars: of the hub, by name; each a HistoryBuffer.
            runtime_info: of the hub; has epochs and iterations.
        """
        scalars = {name: np.asarray(buffer.data[0]) for name, buffer in log_scalars.items()}
        empty = np.empty(0)
        validated_at = scalars.get(VALIDATED_AT, empty)
        metrics = {
            name.rpartition('/')[2]: values[-len(validated_at) :]
            for name, values in scalars.items()
            if re.fullmatch(r'val/.*mAP(_50|_75)?', name) and len(validated_at)
        }
        epochs, iterations = runtime_info.get('max_epochs'), runtime_info.get('max_iters')
        return cls(
            losses={
                name.removeprefix('train/'): values
                for name, values in scalars.items()
                if name.startswith('train/') and 'loss' in name
            },
            learning_rate=scalars.get('train/lr', scalars.get('train/base_lr', empty)),
            seconds=scalars.get('train/time', empty),
            metrics=metrics,
            validated_at=validated_at,
            epoch_length=iterations / epochs if epochs and iterations else None,
        )


def smooth(values: np.ndarray, window: int, points: int = 300) -> tuple[np.ndarray, ...]:
    """A moving mean, and the band that holds the middle 80 % of the values.

    Args:
        values: ``(N,)``.
        window: how many neighbours each mean takes; fewer at the ends.
        points: how many means at most, evenly spread.

    Returns:
        Positions from 1 to N, mean, 10th and 90th percentile at each.
    """
    centres = np.unique(
        np.linspace(0, len(values) - 1, min(points, len(values))).round().astype(int)
    )
    groups = [values[max(0, centre - window // 2) : centre + window // 2 + 1] for centre in centres]
    low, high = np.array([np.percentile(group, (10, 90)) for group in groups]).T
    return centres + 1, np.array([group.mean() for group in groups]), low, high
