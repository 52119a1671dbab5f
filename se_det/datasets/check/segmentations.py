"""Segmentations: polygons and run lengths that pycocotools can turn into masks."""

from array import array
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from se_det.datasets.check.problems import Problems


def check_segmentations(
    annotations: list[dict], images: dict[int | str, dict], masks: bool, problems: Problems
) -> np.ndarray:
    """Check the segmentations.

    Args:
        annotations: annotations in the right form.
        images: the images by id.
        masks: whether the config reads them; if not, what is wrong is a note.
        problems: what is wrong is added here.

    Returns:
        (N, 4), x1, y1, x2, y2 of each segmentation; NaN where there is none.
    """
    faults: dict[int, str] = {}
    bounds = np.full((len(annotations), 4), np.nan)
    coordinates, starts, owners = array('d'), [], []
    for index, annotation in enumerate(annotations):
        segmentation = annotation.get('segmentation')
        if not segmentation:
            fault = 'segmentation must be there, as the config reads masks' if masks else None
        elif isinstance(segmentation, list):
            start = len(coordinates)
            fault = _add_polygons(segmentation, coordinates)
            if fault is None:
                starts.append(start // 2)
                owners.append(index)
            else:
                del coordinates[start:]
        else:
            fault = run_lengths_fault(segmentation, images[annotation['image_id']])
            if fault is None:
                bounds[index] = _rle_bounds(segmentation)
        if fault:
            faults[index] = fault
    if owners:
        bounds[owners] = _bounds(np.frombuffer(coordinates).reshape(-1, 2), starts)
        images_of = [images[annotations[index]['image_id']] for index in owners]
        largest = np.array([max(image['width'], image['height']) for image in images_of])
        low, high = bounds[owners, :2].min(1), bounds[owners, 2:].max(1)
        for index in np.flatnonzero(~((low > -largest) & (high < 2 * largest))):
            faults[owners[index]] = 'a polygon must be inside its image'
            bounds[owners[index]] = np.nan
    for index, fault in faults.items():
        if masks:
            problems.error(fault, f'annotation {annotations[index]["id"]}')
        else:
            remark = f'segmentations are wrong, but the config does not read masks: {fault}'
            problems.notes[remark] += 1
    return bounds


def run_lengths_fault(segmentation: Any, image: dict) -> str | None:
    """The rule that run lengths (RLE) break, None if none; pycocotools checks none of them.

    Args:
        segmentation: with ``counts`` as text or a list.
        image: its ``width`` and ``height``.
    """
    if not isinstance(segmentation, dict):
        return 'segmentation must be polygons or run lengths (RLE)'
    width, height = image['width'], image['height']
    if segmentation.get('size') != [height, width]:
        return "the size of an RLE must be its image's [height, width]"
    counts = segmentation.get('counts')
    if isinstance(counts, str):
        counts = _decoded_counts(counts)
    if not (
        isinstance(counts, list)
        and all(type(count) is int and count >= 0 for count in counts)
        and sum(counts) == width * height < 2**32
    ):
        return 'the counts of an RLE must add up to width times height of the image, below 2**32'
    return None


def mend_polygons(segmentation: Any) -> list | None:
    """One polygon as a list of polygons, points as flat lists, parts without area left out.

    Returns:
        The polygons; None if it is no such segmentation, or nothing changes.
    """
    if not isinstance(segmentation, list) or not segmentation:
        return None
    parts = segmentation
    if all(type(value) in (int, float) for value in parts) or all(map(_is_point, parts)):
        parts = [parts]
    parts = [
        [value for point in part for value in point]
        if isinstance(part, list) and len(part) > 2 and all(map(_is_point, part))
        else part
        for part in parts
    ]
    if not all(isinstance(part, list) for part in parts):
        return None
    with_area = [part for part in parts if len(part) >= 6]
    return with_area if with_area and with_area != segmentation else None


def _is_point(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and all(type(number) in (int, float) for number in value)


def _add_polygons(polygons: list, coordinates: array) -> str | None:
    """Append the coordinates of polygons; returns the rule that one of them breaks."""
    for polygon in polygons:
        if type(polygon) is not list or len(polygon) < 6 or len(polygon) % 2:
            return 'a polygon must be a list [x1, y1, x2, y2, x3, y3, ...]'
        try:
            coordinates.extend(polygon)
        except (TypeError, OverflowError):
            return 'a polygon must have numbers alone'
    return None


def _bounds(points: np.ndarray, starts: list[int]) -> np.ndarray:
    """Bounds of the points from each start to the next; NaN if one of them is."""
    low, high = (extreme.reduceat(points, starts) for extreme in (np.minimum, np.maximum))
    return np.concatenate([low, high], 1)


def _rle_bounds(rle: dict) -> np.ndarray:
    """x1, y1, x2, y2 of the mask of an RLE in the right form."""
    if isinstance(rle['counts'], list):
        rle = coco_mask.frPyObjects(rle, *rle['size'])
    x, y, width, height = coco_mask.toBbox(rle)
    return np.array([x, y, x + width, y + height])


def _decoded_counts(text: str) -> list[int] | None:
    """The run lengths in COCO's compressed text, or None if it has others than its characters.

    Each character holds five bits and whether more follow; from the fourth number on, numbers are
    differences to the second last. pycocotools reads past the end of text that is cut off.
    """
    counts: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 30:
            return None
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = bits = 0
    return counts if bits == 0 else None
