"""Images with ground truth beside detections: boxes that the page draws over the image."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import cv2
import mmcv
import numpy as np
from pycocotools import mask as coco_mask

from se_det.report.diagnosis import JudgedImage

WIDTH = 960  # of all panels side by side, in pixels of a wide page, which scales them
MARGIN = 20  # above and below the image, for labels
LETTER, LINE_HEIGHT = 8, 15  # of a label, in these units; the page's font may be narrower
MOST = 20  # detections of an image are drawn at most
LONG_SIDE = 800  # pixels of the embedded copy at most
_numbers = count()


@dataclass
class Mark:
    """A box on an image, its label with a position, and its kind."""

    box: tuple[float, float, float, float]
    label: str
    kind: str
    outline: str = ''
    at: tuple[float, float] = (0, 0)
    anchor: str = 'start'


@dataclass(frozen=True)
class Picture:
    """An image and its panels: views by title, each with its marks."""

    key: str
    title: str
    photo: str
    width: float
    height: float
    scale: float
    panels: dict[str, list[Mark]]


def picture(path: str, title: str, panels: Mapping[str, Sequence[Mark]]) -> Picture:
    """Read an image, and place the labels of its panels where they cover least.

    Args:
        path: of the image; boxes of marks are in its pixels.
        title: stands above it.
        panels: marks by the title of their panel.

    Raises:
        FileNotFoundError: there is no such image.
    """
    image = mmcv.imread(path)
    height, width = image.shape[:2]
    shrink = min(1, LONG_SIDE / max(height, width))
    if shrink < 1:
        size = (round(width * shrink), round(height * shrink))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
    photo = f'data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}'
    scale = WIDTH / len(panels) / width
    extent = (width * scale, height * scale)
    laid = {
        name: _lay_labels([_scaled(mark, scale) for mark in marks], *extent)
        for name, marks in panels.items()
    }
    return Picture(f'photo-{next(_numbers)}', title, photo, *extent, scale, laid)


def truth_marks(
    image: JudgedImage, names: Mapping[int, str], threshold: float | None = None
) -> list[Mark]:
    """The objects of an image; with a threshold, those found with this score, and those missed."""
    kinds = ['truth'] * len(image.truth)
    if threshold is not None:
        kinds = np.where(image.truth_scores >= threshold, 'found', 'missed').tolist()
    return [
        Mark(tuple(ann['bbox']), names[ann['category_id']], kind)
        for ann, kind in zip(image.truth, kinds, strict=True)
    ]


def detection_marks(image: JudgedImage, names: Mapping[int, str], threshold: float) -> list[Mark]:
    """The best detections of at least this score, correct or wrong."""
    marks = []
    is_mask = isinstance(image.shapes, list)
    for index in np.flatnonzero(image.scores >= threshold)[:MOST]:
        shape = image.shapes[index]
        label = f'{names[image.classes[index]]} {image.scores[index]:.2f}'
        box = coco_mask.toBbox(shape) if is_mask else shape
        outline = _outline(shape) if is_mask else ''
        marks.append(
            Mark(tuple(box.tolist()), label, 'wrong' if image.wrong[index] else 'correct', outline)
        )
    return marks


def spread(images: Sequence[JudgedImage], number: int, threshold: float) -> list[JudgedImage]:
    """Choose images from the worst to the best by F1 of their detections, in even steps."""
    ranked = sorted(images, key=lambda image: (image.f1(threshold), image.image_id))
    steps = np.linspace(0, len(ranked) - 1, min(number, len(ranked))).round().astype(int)
    return [ranked[step] for step in steps]


def _outline(rle: dict) -> str:
    """The contours of a mask as an SVG path, in pixels of the image."""
    mask = coco_mask.decode(rle)
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1)
    return ''.join(f'M{"L".join(f"{x} {y}" for x, y in contour[:, 0])}Z' for contour in contours)


def _scaled(mark: Mark, scale: float) -> Mark:
    return replace(mark, box=tuple(scale * side for side in mark.box))


def _lay_labels(marks: list[Mark], width: float, height: float) -> list[Mark]:
    """Place each label outside its box, where it covers other boxes and labels least."""
    boxes = [mark.box for mark in marks]
    laid = []
    for mark in sorted(marks, key=lambda mark: mark.box[1]):
        x, y, w, h = mark.box
        length = LETTER * len(mark.label)
        places = [
            (max(0, min(side, width - length)), top, anchor)
            for top in (y - LINE_HEIGHT - 1, y + h + 1, y + 1, y + h - LINE_HEIGHT - 1)
            for side, anchor in ((x, 'start'), (x + w - length, 'end'))
            if -MARGIN <= top <= height + MARGIN - LINE_HEIGHT
        ] or [(0, 0, 'start')]
        areas = [(left, top, length, LINE_HEIGHT) for left, top, _ in places]
        costs = [
            sum(_overlap(area, box) for box in boxes) + 4 * sum(_overlap(area, one) for one in laid)
            for area in areas
        ]
        best = int(np.argmin(costs))
        left, top, mark.anchor = places[best]
        if left < x and mark.anchor == 'start':  # the right edge pushed it
            mark.anchor = 'end'
        mark.at = (left + (length if mark.anchor == 'end' else 0), top)
        laid.append(areas[best])
    return marks


def _overlap(one: tuple, other: tuple) -> float:
    """The area that two boxes ``(x, y, w, h)`` share."""
    across, down = (
        min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis])
        for axis in (0, 1)
    )
    return max(0, across) * max(0, down)
