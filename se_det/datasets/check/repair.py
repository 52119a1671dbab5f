"""Repair annotations: what is certain is kept; what has two readings is shown, not guessed."""

import copy
from collections.abc import Collection, Iterator

import numpy as np

from se_det.datasets.check.form import LARGEST, check_annotations, is_coordinate, is_integer
from se_det.datasets.check.problems import Problems, Repairs
from se_det.datasets.check.references import References, as_number, is_id, unused
from se_det.datasets.check.repair_boxes import repair_boxes
from se_det.datasets.check.repair_records import (
    ImageFiles,
    as_coordinate,
    repair_categories,
    repair_images,
)
from se_det.datasets.check.segmentations import check_segmentations, mend_polygons

FLAGS = {'0': 0, '0.0': 0, 'false': 0, 'none': 0, '1': 1, '1.0': 1, 'true': 1}


def repair(
    coco: dict,
    files: ImageFiles | None = None,
    masks: bool = False,
    choices: Collection[str] = (),
) -> tuple[dict, Repairs]:
    """Repair the content of an annotation file.

    Args:
        coco: the content; it is not changed.
        files: what is known of the image files.
        masks: whether the config reads segmentations.
        choices: what the user has chosen of two readings; ``'drop'`` leaves records out that
            have two.

    Returns:
        The repaired content, and what was done. The content is certain if nothing is unclear.
    """
    coco, done = copy.deepcopy(coco), Repairs(choices)
    annotations = []
    for index, annotation in enumerate(coco.get('annotations', [])):
        if isinstance(annotation, dict):
            annotations.append(annotation)
        else:
            done.left_out.error('annotations that are no dict', f'annotations[{index}]', annotation)
    categories, names = repair_categories(coco, done)
    image_ids, images = repair_images(coco, annotations, files or ImageFiles(), done)
    annotations = list(_referring(annotations, image_ids, images, categories, names, done))
    annotations = _numbered(annotations, done)
    annotations = [a for a in annotations if _repair_values(a, done)]
    annotations = list(_segmented(annotations, images, masks, done))
    without_area = {
        id(annotation)
        for annotation in annotations
        if not (is_coordinate(area := annotation.get('area'), LARGEST**2) and area > 0)
    }
    for annotation in annotations:
        if id(annotation) in without_area:
            annotation['area'] = 0.0  # until it is certain what the bbox is
    found = Problems()
    annotations = check_annotations(annotations, images, names, found)
    for rule, group in found.errors.items():
        if 'misspelled' not in rule:
            done.left_out.errors[f'annotations: {rule}'] = group
    coco['annotations'] = repair_boxes(annotations, images, done)
    for annotation in coco['annotations']:
        if id(annotation) in without_area:
            annotation['area'] = float(np.prod(annotation['bbox'][2:]))
            done.changes['areas set to width times height of the bbox'] += 1
    return coco, done


def _referring(
    annotations: list[dict],
    image_ids: References,
    images: dict[int | str, dict],
    categories: References,
    names: dict[int, str],
    done: Repairs,
) -> Iterator[dict]:
    """Annotations whose image and category are certain, with their ids."""
    shift = _shift(annotations, categories, names, done)
    for index, annotation in enumerate(annotations):
        record = f'annotation {annotation.get("id", f"number {index + 1}")!r}'
        targets = []
        for key, references, added in (
            ('image_id', image_ids, 0),
            ('category_id', categories, shift),
        ):
            value = annotation.get(key)
            if added and is_id(value) and not isinstance(as_number(value), str):
                value = as_number(value) + added
            found = references.find(value)
            kind = key.removesuffix('_id')
            if len(found) > 1:
                both = ' or '.join(f'that of {r.get("file_name", r.get("name"))}' for r in found)
                done.refuse(f'{key} has two readings', f'{record}: {value!r} is {both}')
            elif not found:
                done.left_out.error(f'annotations whose {key} is that of no {kind}', record, value)
            else:
                targets.append((key, found[0]['id']))
        if len(targets) < 2:
            continue
        if targets[0][1] not in images:
            done.left_out.error('annotations whose image is left out', record)
            continue
        for key, target in targets:
            if type(annotation[key]) is not type(target) or annotation[key] != target:
                annotation[key] = target
                done.changes[f'{key} written as that of its {key.removesuffix("_id")}'] += 1
        yield annotation


def _shift(
    annotations: list[dict], categories: References, names: dict[int, str], done: Repairs
) -> int:
    """What the user has chosen to add to each category_id. Two readings are unclear."""
    for choice in done.choices:
        if choice.startswith('category_id'):
            return int(choice.removeprefix('category_id'))
    values = [a.get('category_id') for a in annotations if is_id(a.get('category_id'))]
    found = {as_number(value) for value in values}
    unknown = {as_number(value) for value in values if not categories.find(value)}
    if not unknown or not all(map(is_integer, found)):
        return 0
    shifts = [1, -1] if unknown < found else [key - min(found) for key in sorted(names)]
    shift = next((s for s in shifts if all(key + s in names for key in found)), None)
    if shift is not None:
        some = [*sorted(unknown)[:2], *sorted(found - unknown)[:2]]
        readings = (
            ', '.join(f'{key} is {names.get(key + added, "of no category")!r}' for key in some)
            for added in (shift, 0)
        )
        done.refuse(
            'category_id counts from another start than the categories, or some are wrong: '
            f'choose with --read-as category_id{shift:+d} or category_id+0',
            '; or '.join(readings),
        )
    return 0


def _numbered(annotations: list[dict], done: Repairs) -> list[dict]:
    """Annotations with ids of their own; those that are there twice are merged."""
    owners: dict[int, dict] = {}
    anew, kept = [], []
    for annotation in annotations:
        key = annotation.get('id')
        number = as_number(key) if is_id(key) else None
        if not is_integer(number) or number <= 0:
            anew.append(annotation)
        elif number not in owners:
            if type(key) is not int:
                done.changes['annotation ids written as integers'] += 1
            owners[number] = annotation
            annotation['id'] = number
        elif {**annotation, 'id': number} == owners[number]:
            done.changes['annotations that were there twice merged'] += 1
            continue
        else:
            anew.append(annotation)
        kept.append(annotation)
    for annotation, number in zip(anew, unused(owners), strict=False):
        annotation['id'] = number
        done.changes['annotations given an id of their own'] += 1
    return kept


def _repair_values(annotation: dict, done: Repairs) -> bool:
    """Write numbers that are text as numbers; returns whether all has one reading."""
    record = f'annotation {annotation["id"]}'
    box = annotation.get('bbox')
    if isinstance(box, list) and any(isinstance(value, str) for value in box):
        numbers = [as_coordinate(value) for value in box]
        if None not in numbers:
            annotation['bbox'] = numbers
            done.changes['bboxes written as numbers'] += 1
    area = annotation.get('area')
    if isinstance(area, str) and as_coordinate(area) is not None:
        annotation['area'] = as_coordinate(area)
        done.changes['areas written as numbers'] += 1
    for key in ('iscrowd', 'ignore'):
        value = annotation.get(key, 0)
        if value in (0, 1):
            continue
        if str(value).strip().lower() not in FLAGS:
            done.refuse(f'{key} can be 0 or 1', f'{record} has {str(value)[:60]!r}')
            return False
        annotation[key] = FLAGS[str(value).strip().lower()]
        done.changes[f'{key} set to 0 or 1'] += 1
    return True


def _segmented(annotations: list[dict], images: dict, masks: bool, done: Repairs) -> Iterator[dict]:
    """Annotations with a valid segmentation, or with none; a missing bbox is its bounds."""
    for annotation in annotations:
        mended = mend_polygons(annotation.get('segmentation'))
        if mended is not None:
            annotation['segmentation'] = mended
            done.changes['segmentations written as a list of polygons'] += 1
        problems = Problems()
        ((*low, x2, y2),) = check_segmentations([annotation], images, True, problems).tolist()
        if problems.errors and masks:
            (rule,) = problems.errors
            done.left_out.error(f'annotations: {rule}', f'annotation {annotation["id"]}')
            continue
        if problems.errors and annotation.get('segmentation'):
            annotation['segmentation'] = []
            done.changes['segmentations removed, as they are not valid'] += 1
        box = annotation.get('bbox')
        is_box = isinstance(box, list) and len(box) == 4 and all(map(is_coordinate, box))
        if not is_box and np.isfinite(x2):
            annotation['bbox'] = [*low, x2 - low[0], y2 - low[1]]
            done.changes['bboxes set to the bounds of the segmentation'] += 1
        yield annotation
