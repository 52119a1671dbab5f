"""What a detector found in an image, in NumPy."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from se_det.errors import UsageError


@dataclass(frozen=True, eq=False)
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

    def __getitem__(self, chosen: slice | np.ndarray) -> 'Detections':
        """Some of the objects, by a slice, indices (M,) or a mask (N,) bool."""
        masks = None if self.masks is None else self.masks[chosen]
        return Detections(
            self.boxes[chosen], self.scores[chosen], self.labels[chosen], self.classes, masks
        )

    @property
    def names(self) -> list[str]:
        """The name of each object's class."""
        return [self.classes[label] for label in self.labels]

    def above(self, score: float) -> 'Detections':
        """Those with this score or more."""
        return self[self.scores >= score]

    def of(self, classes: Sequence[str] | None) -> 'Detections':
        """Those of some classes; None: of all.

        Raises:
            UsageError: the detector knows no such class.
        """
        if classes is None:
            return self
        return self[np.isin(self.labels, class_indices(classes, self.classes))]


def class_indices(chosen: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The indices of some classes among all.

    Raises:
        UsageError: one of them is unknown; the message suggests near ones.
    """
    if isinstance(chosen, str):
        chosen = [chosen]
    for name in chosen:
        if name not in classes:
            near = difflib.get_close_matches(str(name), classes, 3, 0.5)
            hint = f'Did you mean {" or ".join(map(repr, near))}?' if near else ''
            raise UsageError(
                f'The detector has no class {name!r}. {hint or f"It has {list(classes)}."}'
            )
    return [classes.index(name) for name in chosen]
