"""What a detector found in an image, in NumPy."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Detections:
    """Objects in one image, highest score first.

    Args:
        boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the image as it was given.
        scores: (N,) float32, 0 to 1.
        labels: (N,) int64, indices into ``classes``.
        classes: the names of all classes that the detector knows.
        masks: (N, H, W) bool, in the size of the image; None if the detector has no masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.scores)
