"""Repair annotations: each change is counted; what cannot be repaired is left out."""

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from se_det.datasets.check.boxes import NORMALISED, XYXY, Boxes
from se_det.datasets.check.form import check_annotations, check_categories, check_images
from se_det.datasets.check.problems import Problems
from se_det.datasets.check.segmentations import check_segmentations


def repair(
    coco: dict, sizes: Mapping[str, tuple[int, int] | None] | None = None, masks: bool = False
) -> tuple[dict, Counter]:
    """Repair the content of an annotation file.

    Args:
        coco: the content; it is not changed.
        sizes: width and height of image files by name, None for those that cannot be read.
        masks: whether the config reads segmentations.

    Returns:
        The repaired content, and how many records each change was made to.
    """
    coco, changes = copy.deepcopy(coco), Counter()
    names = check_categories(coco['categories'], Problems())
    left = dict(names)
    _keep(coco, 'categories', [c for c in coco['categories'] if _take(c, left)], changes)
    _repair_images(coco, sizes or {}, changes)
    images = check_images(coco['images'], Problems())
    annotations = [a for a in coco.get('annotations', []) if isinstance(a, dict)]
    _count_categories_from_one(annotations, names, changes)
    for annotation in annotations:
        _repair_form(annotation, changes)
    _number_anew(annotations, changes)
    annotations = check_annotations(annotations, images, names, Problems())
    annotations = _repair_segmentations(annotations, images, masks, changes)
    annotations = _repair_boxes(annotations, images, changes)
    _keep(coco, 'annotations', annotations, changes)
    return coco, changes


def _keep(coco: dict, name: str, records: list, changes: Counter) -> None:
    left_out = len(coco.get(name, [])) - len(records)
    if left_out:
        changes[f'{name} left out, as they cannot be repaired'] += left_out
    coco[name] = records


def _take(category: Any, names: dict[int, str]) -> bool:
    """Take the name of a category out of ``names``; returns whether it was there."""
    valid = isinstance(category, dict) and type(category.get('id')) is int
    if valid and names.get(category['id']) == category.get('name'):
        del names[category['id']]
        return True
    return False


def _repair_images(coco: dict, sizes: Mapping[str, Any], changes: Counter) -> None:
    readable = []
    for image in coco['images']:
        size = sizes.get(image.get('file_name'), ()) if isinstance(image, dict) else ()
        if size is None:
            changes['images left out, as their file cannot be read'] += 1
            continue
        if size and (image.get('width'), image.get('height')) != tuple(size):
            image['width'], image['height'] = size
            changes["image sizes set to the files'"] += 1
        readable.append(image)
    coco['images'] = readable
    _keep(coco, 'images', list(check_images(readable, Problems()).values()), changes)


def _count_categories_from_one(annotations: list, names: dict, changes: Counter) -> None:
    """Add 1 to category ids that count from 0 while the categories count from 1."""
    found = {a.get('category_id') for a in annotations if type(a.get('category_id')) is int}
    if 0 in found - names.keys() and {category + 1 for category in found} <= names.keys():
        for annotation in annotations:
            if type(annotation.get('category_id')) is int:
                annotation['category_id'] += 1
                changes['category ids raised by 1, as they counted from 0'] += 1


def _repair_form(annotation: dict, changes: Counter) -> None:
    for key in ('iscrowd', 'ignore'):
        if key in annotation and annotation[key] not in (0, 1):
            annotation[key] = int(annotation[key] in ('1', 'true', 'True'))
            changes[f'{key} set to 0 or 1'] += 1
    for key in ('id', 'image_id', 'category_id'):
        value = annotation.get(key)
        if isinstance(value, float) and value.is_integer():
            annotation[key] = int(value)
            changes[f'{key} written as an integer'] += 1
    box, area = annotation.get('bbox'), annotation.get('area')
    if type(area) not in (int, float) or not area > 0 or area == float('inf'):
        try:
            annotation['area'] = float(box[2] * box[3])
        except (TypeError, IndexError, KeyError, OverflowError):
            return  # the bbox is wrong, so that the annotation is left out
        changes['areas set to width times height of the bbox'] += 1


def _number_anew(annotations: list[dict], changes: Counter) -> None:
    ids = [annotation.get('id') for annotation in annotations]
    if all(type(key) is int and key > 0 for key in ids) and len(set(ids)) == len(ids):
        return
    for number, annotation in enumerate(annotations, 1):
        annotation['id'] = number
    changes['annotation ids numbered anew from 1'] += len(ids)


def _repair_segmentations(
    annotations: list[dict], images: dict, masks: bool, changes: Counter
) -> list[dict]:
    kept = []
    for annotation in annotations:
        problems = Problems()
        check_segmentations([annotation], images, True, problems)
        if problems.errors and annotation.get('segmentation'):
            annotation['segmentation'] = []
            changes['segmentations removed, as they are not valid'] += 1
        if problems.errors and masks:
            changes['annotations left out, as they have no valid segmentation'] += 1
        else:
            kept.append(annotation)
    return kept


def _repair_boxes(annotations: list[dict], images: dict, changes: Counter) -> list[dict]:
    bounds = check_segmentations(annotations, images, False, Problems())
    boxes = Boxes.of(annotations, images, bounds)
    with np.errstate(invalid='ignore', divide='ignore'):
        faults = {rule: np.flatnonzero(broken) for rule, broken in boxes.faults()}
    for rule, indices in faults.items():
        for index in indices:
            annotation = annotations[index]
            width, height = boxes.size[index].tolist()
            x, y, w, h = annotation['bbox']
            if rule == XYXY:
                x, y, w, h = x, y, w - x, h - y
                changes['bboxes written as [x, y, width, height] instead of corners'] += 1
            elif rule == NORMALISED:
                x, y, w, h = x * width, y * height, w * width, h * height
                changes['bboxes multiplied by the size of the image'] += 1
            elif np.isfinite(bounds[index]).all():
                x, y, w, h = *bounds[index, :2], *(bounds[index, 2:] - bounds[index, :2])
                changes['bboxes set to the bounds of the segmentation'] += 1
            elif not rule.startswith('area'):
                changes['bboxes cut off at the border of the image, or left out'] += 1
            x1, y1 = max(float(x), 0.0), max(float(y), 0.0)
            x2, y2 = min(float(x + w), width), min(float(y + h), height)
            annotation['bbox'] = [x1, y1, x2 - x1, y2 - y1]
            if not annotation.get('segmentation') or annotation['area'] > (x2 - x1) * (y2 - y1):
                annotation['area'] = (x2 - x1) * (y2 - y1)
    touched = {index for indices in faults.values() for index in indices}
    return [
        annotation
        for index, annotation in enumerate(annotations)
        if index not in touched or min(annotation['bbox'][2:]) >= 1
    ]
