"""Boxes: inside the image, not empty, and plausible as x, y, width and height in pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from se_det.datasets.check.problems import Problems

OVERHANG = 2  # pixels outside the image that rounding may explain; 1 % of the image if larger
FEW = 10  # boxes that MMDetection leaves out; more than these and 1 % are an error

XYXY = 'bbox is [x1, y1, x2, y2]; expected [x, y, width, height]'
NORMALISED = 'bbox is normalised to 0..1; expected pixels'


@dataclass
class Boxes:
    """The boxes of a file as arrays of length N.

    Attributes:
        ids: the annotations' ids.
        xywh: (N, 4).
        area: the annotations' areas.
        size: (N, 2), width and height of the image.
        masked: whether an annotation has a segmentation.
        bounds: (N, 4), x1, y1, x2, y2 of its segmentation; NaN where there is none.
    """

    ids: list
    xywh: np.ndarray
    area: np.ndarray
    size: np.ndarray
    masked: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(
        cls, annotations: list[dict], images: dict[int | str, dict], bounds: np.ndarray
    ) -> 'Boxes':
        """Collect the boxes of annotations in the right form."""
        sizes = {key: (image['width'], image['height']) for key, image in images.items()}
        return cls(
            [annotation['id'] for annotation in annotations],
            np.array([a['bbox'] for a in annotations], np.float64).reshape(-1, 4),
            np.array([a['area'] for a in annotations], np.float64),
            np.array([sizes[a['image_id']] for a in annotations], np.float64).reshape(-1, 2),
            np.array([bool(a.get('segmentation')) for a in annotations], bool),
            bounds,
        )

    def faults(self) -> Iterator[tuple[str, np.ndarray]]:
        """The rules, each with a mask of the boxes that break it. A box breaks at most one."""
        left = np.ones(len(self.ids), bool)
        for rule, broken in self._rules():
            broken = broken & left
            left &= ~broken
            yield rule, broken

    def too_small(self) -> np.ndarray:
        """Which boxes MMDetection leaves out, as they are narrower or lower than a pixel."""
        return (self.xywh[:, 2:] < 1).any(1)

    def look_normalised(self) -> np.ndarray:
        """Which boxes have shares of the image's size, not pixels."""
        shares = (self.xywh >= 0) & (self.xywh <= 1.001)
        return shares.all(1) & (self.xywh[:, 2:] > 0).all(1) & (self.size > 2).all(1)

    def _rules(self) -> Iterator[tuple[str, np.ndarray]]:
        (x, y, w, h), (width, height) = self.xywh.T, self.size.T
        yield 'width and height of a bbox must not be negative', (w < 0) | (h < 0)
        yield NORMALISED, self.look_normalised()
        allowed = np.maximum(OVERHANG, 0.01 * self.size)
        overhang = np.maximum(self.xywh[:, :2] + self.xywh[:, 2:] - self.size, -self.xywh[:, :2])
        hangs_over = (overhang > allowed).any(1)
        corners = (w > x) & (h > y) & (self.xywh[:, :2] >= 0).all(1)
        corners &= (self.xywh[:, 2:] <= self.size + allowed).all(1)
        yield XYXY, corners & (hangs_over | self._area_is_of_corners() | self._bounds_are_corners())
        yield 'bbox must be inside its image', hangs_over
        outside = (np.minimum(x + w, width) <= np.maximum(x, 0)) & (w > 0)
        outside |= (np.minimum(y + h, height) <= np.maximum(y, 0)) & (h > 0)
        yield 'bbox must overlap its image', outside
        yield 'bbox must enclose its segmentation', self._overlap_of_bounds() < 0.5
        yield 'area must be larger than 0', (self.area <= 0) & ~self.too_small()
        largest = 1.01 * (w + OVERHANG) * (h + OVERHANG)
        yield 'area must not be larger than width times height of the bbox', self.area > largest

    def _area_is_of_corners(self) -> np.ndarray:
        """Where area is that of [x1, y1, x2, y2]; a mask's area could be so by chance."""
        x, y, w, h = self.xywh.T
        as_corners = np.abs(self.area - (w - x) * (h - y)) < 1e-4 * np.abs(self.area)
        as_sizes = np.abs(self.area - w * h) < 1e-3 * np.abs(self.area)
        return as_corners & ~as_sizes & ~self.masked

    def _bounds_are_corners(self) -> np.ndarray:
        as_corners = np.abs(self.bounds - self.xywh).max(1) < 1
        return as_corners & (self._overlap_of_bounds() < 0.9)

    def _overlap_of_bounds(self) -> np.ndarray:
        """IoU of each box and the bounds of its segmentation; NaN where there is none."""
        low, high = self.xywh[:, :2], self.xywh[:, :2] + self.xywh[:, 2:]
        inner = np.minimum(high, self.bounds[:, 2:]) - np.maximum(low, self.bounds[:, :2])
        inner = np.clip(inner + 1, 0, None).prod(1)  # a pixel more, so that thin boxes overlap
        both = (high - low + 1).prod(1) + (self.bounds[:, 2:] - self.bounds[:, :2] + 1).prod(1)
        return inner / (both - inner)


def check_boxes(boxes: Boxes, problems: Problems) -> np.ndarray:
    """Check boxes.

    Args:
        boxes: the boxes of a file.
        problems: what is wrong is added here.

    Returns:
        Which boxes MMDetection trains on.
    """
    used = ~boxes.too_small()
    with np.errstate(invalid='ignore', divide='ignore'):
        for rule, broken in boxes.faults():
            for index in np.flatnonzero(broken):
                problems.error(rule, f'annotation {boxes.ids[index]}', boxes.xywh[index].tolist())
            used &= ~broken
    small = np.flatnonzero(boxes.too_small())
    small = [index for index in small if (boxes.xywh[index] >= 0).all()]
    if len(small) > max(FEW, 0.01 * len(boxes.ids)):
        rule = 'width and height of a bbox must be at least one pixel'
        for index in small:
            problems.error(rule, f'annotation {boxes.ids[index]}', boxes.xywh[index].tolist())
    if small:
        remark = 'boxes are left out by MMDetection: narrower or lower than a pixel'
        problems.notes[remark] = len(small)
    return used
