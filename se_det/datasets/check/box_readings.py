"""What the four numbers of a bbox mean: pixels or shares, sizes, corners or a centre."""

from collections.abc import Callable, Collection

import numpy as np

from se_det.datasets.check.box_checks import OVERHANG, Boxes

ENOUGH = 10  # boxes that are all possible as corners are so by chance in no file

# To x, y, width, height in pixels; of boxes (N, 4) and sizes (N, 4), width and height twice.
FORMATS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    'xywh': lambda box, size: box,
    'xyxy': lambda box, size: np.hstack([box[:, :2], box[:, 2:] - box[:, :2]]),
    'xywh-normalised': lambda box, size: box * size,
    'xyxy-normalised': lambda box, size: FORMATS['xyxy'](box * size, size),
    'cxcywh-normalised': lambda box, size: (
        np.hstack([box[:, :2] - box[:, 2:] / 2, box[:, 2:]]) * size
    ),
}


class BoxReadings:
    """The boxes of a file in each format, and which of them are possible.

    Attributes:
        boxes: by format, (N, 4): x, y, width and height in pixels.
        possible: by format, the boxes that are inside their image, and agree with their
            segmentation or area if another format does.
    """

    def __init__(self, boxes: Boxes) -> None:
        size = np.hstack([boxes.size, boxes.size])
        self.boxes = {name: read(boxes.xywh, size) for name, read in FORMATS.items()}
        shares = boxes.look_normalised()
        fits = {
            name: _fits(box, boxes.size) & (shares == ('normalised' in name))
            for name, box in self.boxes.items()
        }
        agree = {name: fits[name] & _agree(box, boxes) for name, box in self.boxes.items()}
        agree['xywh'] = ~shares & _agree(boxes.xywh, boxes)  # what hangs over can be cut off
        self._evident = np.logical_or.reduce(list(agree.values()))
        self.possible = {name: np.where(self._evident, agree[name], fits[name]) for name in FORMATS}
        alone = np.sum(list(self.possible.values()), 0) == 1
        self._proved = {name: mask & alone & self._evident for name, mask in self.possible.items()}

    def choose(self, given: Collection[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Choose the format of each box.

        Args:
            given: formats that the user has chosen for boxes that nothing decides.

        Returns:
            (N,), the names; and the boxes that nothing decides, by the formats that they can have.
        """
        chosen = np.full(len(self._evident), 'xywh', dtype=object)
        wrong, undecided = ~self.possible['xywh'], {}
        for group in (('xywh', 'xyxy'), [name for name in FORMATS if 'normalised' in name]):
            members = np.logical_or.reduce([self.possible[name] for name in group])
            if not (members & wrong).any():
                continue
            readings = [name for name in group if name in given]
            readings = readings or [name for name in group if self._is_of_all(name, members)]
            decided = np.zeros_like(members)
            if len(readings) == 1:
                decided = members & (self.possible[readings[0]] | ~wrong)
                chosen[members & self.possible[readings[0]]] = readings[0]
            for name in group:
                chosen[self._proved[name]] = name
                decided |= self._proved[name]
            if (members & wrong & ~decided).any() and 'xywh' not in readings:
                undecided = {name: members & wrong & ~decided for name in group}
        return chosen, undecided

    def _is_of_all(self, name: str, members: np.ndarray) -> bool:
        """Whether all boxes can be in a format, not by chance."""
        proved = 'normalised' in name or members.sum() >= ENOUGH or self._proved[name].any()
        return bool(proved and self.possible[name][members].all())


def _fits(box: np.ndarray, size: np.ndarray) -> np.ndarray:
    allowed = np.maximum(OVERHANG, 0.01 * size)
    ends = box[:, :2] + box[:, 2:]
    inside = (box[:, :2] >= -allowed) & (ends <= size + allowed) & (box[:, 2:] > 0)
    return inside.all(1)


def _agree(box: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Whether a box is as large as the area says, or is the bounds of the segmentation."""
    corners = np.hstack([box[:, :2], box[:, :2] + box[:, 2:]])
    allowed = 1 + 0.01 * boxes.size.max(1)
    with np.errstate(invalid='ignore'):
        in_bounds = np.abs(corners - boxes.bounds).max(1) <= allowed
        as_large = np.abs(box[:, 2:].prod(1) - boxes.area) <= 1e-3 * np.abs(boxes.area)
    has_bounds = np.isfinite(boxes.bounds).all(1)
    return np.where(has_bounds, in_bounds, as_large & ~boxes.masked & (boxes.area > 0))
