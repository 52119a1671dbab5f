"""Repair boxes: numbers of another meaning, borders, and what contradicts a segmentation."""

import numpy as np

from se_det.datasets.check.box_checks import Boxes
from se_det.datasets.check.box_readings import BoxReadings
from se_det.datasets.check.problems import Problems, Repairs
from se_det.datasets.check.segmentations import check_segmentations

NEGATIVE = 'width and height of a bbox must not be negative'
ENCLOSE = 'bbox must enclose its segmentation'


def repair_boxes(annotations: list[dict], images: dict, done: Repairs) -> list[dict]:
    """Repair the boxes of annotations in the right form, in place.

    Args:
        annotations: the annotations.
        images: the images by id.
        done: what is done is noted here.

    Returns:
        The annotations whose box is in its image.
    """
    bounds = check_segmentations(annotations, images, False, Problems())
    boxes = Boxes.of(annotations, images, bounds)
    open_ = _set_format(annotations, boxes, done)
    with np.errstate(invalid='ignore', divide='ignore'):
        faults = {i: rule for rule, broken in boxes.faults() for i in np.flatnonzero(broken)}
    return [
        annotation
        for index, annotation in enumerate(annotations)
        if not open_[index]
        and (index not in faults or _repair(annotation, index, faults[index], boxes, done))
    ]


def _set_format(annotations: list[dict], boxes: Boxes, done: Repairs) -> np.ndarray:
    """Write boxes as x, y, width, height in pixels; returns which have several readings."""
    formats = BoxReadings(boxes)
    chosen, undecided = formats.choose(done.choices)
    open_ = np.zeros(len(annotations), bool)
    for name in undecided:
        open_ |= undecided[name]
    for index in np.flatnonzero(open_):
        readings = (f'{name}: {_short(formats.boxes[name][index])}' for name in undecided)
        done.refuse(
            f'bbox can be {", ".join(undecided)}: choose one with --read-as',
            f'annotation {boxes.ids[index]}, as x, y, width and height in pixels: '
            f'{"; ".join(readings)}',
        )
    for name in sorted(set(chosen) - {'xywh'}):
        for index in np.flatnonzero((chosen == name) & ~open_):
            boxes.xywh[index] = formats.boxes[name][index]
            annotations[index]['bbox'] = boxes.xywh[index].tolist()
            done.changes[
                f'bboxes written as [x, y, width, height] in pixels instead of {name}'
            ] += 1
    return open_


def _repair(annotation: dict, index: int, rule: str, boxes: Boxes, done: Repairs) -> bool:
    """Repair a box that breaks a rule; returns whether it has one reading, in its image."""
    record, size = f'annotation {annotation["id"]}', boxes.size[index]
    low, high = boxes.bounds[index, :2], boxes.bounds[index, 2:]
    bounds = np.hstack([low, high - low])
    box = boxes.xywh[index]
    if rule == ENCLOSE:
        if 'bbox' in done.choices:
            annotation['segmentation'] = []
            done.changes['segmentations removed, as the bbox is right'] += 1
        elif 'segmentation' in done.choices:
            box = bounds
            done.changes['bboxes set to the bounds of the segmentation'] += 1
        else:
            return _refuse(
                f'{rule}: choose with --read-as bbox or segmentation', record, [box, bounds], done
            )
    elif rule.startswith('area'):
        pass
    elif np.isfinite(bounds).all():
        box = bounds
        done.changes['bboxes set to the bounds of the segmentation'] += 1
    elif rule == NEGATIVE:
        there = np.hstack([box[:2], np.abs(box[2:])])
        back = np.hstack([box[:2] + np.minimum(box[2:], 0), np.abs(box[2:])])
        inside = [b for b in (back, there) if _is_inside(b, size)]
        if len(inside) != 1:
            return _refuse(rule, record, [back, there], done)
        (box,) = inside
        done.changes['bboxes of negative width or height turned round'] += 1
    low, high = np.maximum(box[:2], 0), np.minimum(box[:2] + box[2:], size)
    if (high - low < 1).any():
        done.left_out.error('annotations whose bbox is outside the image', record, _short(box))
        return False
    if not _is_inside(box, size):
        done.changes['bboxes cut off at the border of the image'] += 1
    annotation['bbox'] = [*low.tolist(), *(high - low).tolist()]
    area = float((high - low).prod())
    if not annotation.get('segmentation') or annotation['area'] > area:
        annotation['area'] = area
    return True


def _refuse(rule: str, record: str, readings: list[np.ndarray], done: Repairs) -> bool:
    done.refuse(rule, f'{record} is {" or ".join(map(_short, readings))}')
    return False


def _is_inside(box: np.ndarray, size: np.ndarray) -> bool:
    return bool((box[:2] >= 0).all() and (box[:2] + box[2:] <= size).all())


def _short(box: np.ndarray) -> str:
    return f'[{", ".join(f"{value:g}" for value in box)}]'
