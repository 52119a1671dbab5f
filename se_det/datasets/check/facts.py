"""What an annotation file holds, as far as a config can contradict it; kept between runs.

A file is parsed and checked when it is new or has changed, which for COCO's takes about as long
as loading it does. Until then its facts are read from a file of some kilobytes.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from se_det.datasets.check.box_checks import Boxes, check_boxes
from se_det.datasets.check.form import check_annotations, check_categories, check_images
from se_det.datasets.check.problems import Problems
from se_det.datasets.check.segmentations import check_segmentations
from se_det.errors import UsageError
from se_det.files import write_whole

VERSION = 2  # raise it when a check changes: what was found before is then found again
BRUSHES = 0.02  # of all annotations; COCO's crowds are 0.012
RECENT = 2 * 10**9  # nanoseconds; file systems round times
SAMPLE = 200  # images of the training data that are looked at in every run


@dataclass
class Facts:
    """What an annotation file holds.

    Attributes:
        categories: id and name of each category, in the file's order.
        images: how many images.
        annotations: how many annotations; None if the file has no such list.
        objects: by category, the boxes to train on: not crowds, nor left out by MMDetection.
        largest: by category, the shorter side of the largest image with an annotation of it.
        largest_image: the shorter side of the largest image.
        sample: file name, width and height of images spread over the file.
        notes: remarks for the log.
    """

    categories: list[tuple[int, str]]
    images: int
    annotations: int | None
    objects: list[int]
    largest: list[int]
    largest_image: int
    sample: list[tuple[str, int, int]]
    notes: list[str]


def check_content(
    coco: dict, masks: bool, problems: Problems, sample: int | None = SAMPLE
) -> Facts:
    """Check the content of an annotation file.

    Args:
        coco: the content.
        masks: whether the config reads segmentations.
        problems: what is wrong is added here.
        sample: how many images to sample; None for all.

    Returns:
        The facts; without errors among the problems, they are complete.
    """
    names = check_categories(coco['categories'], problems)
    images = check_images(coco['images'], problems)
    annotations = check_annotations(coco.get('annotations', []), images, names, problems)
    bounds = check_segmentations(annotations, images, masks, problems)
    used = check_boxes(Boxes.of(annotations, images, bounds), problems)
    objects, largest = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for annotation, is_used in zip(annotations, used, strict=True):
        category, image = annotation['category_id'], images[annotation['image_id']]
        shorter = min(image['width'], image['height'])
        largest[category] = max(largest[category], shorter)
        ignored, crowd = annotation.get('ignore', 0), annotation.get('iscrowd', 0)
        if ignored:
            problems.notes["boxes are left out by MMDetection: their 'ignore' is 1"] += 1
        objects[category] += bool(is_used and not ignored and not crowd)
    boxes = {(a['image_id'], a['category_id'], *a['bbox']) for a in annotations}
    if copies := len(annotations) - len(boxes):
        problems.notes['boxes are there twice: same image, category and coordinates'] = copies
    _note_brush_masks(annotations, problems)
    if any(annotation['id'] == 0 for annotation in annotations):
        problems.notes['annotation has the id 0, which pycocotools counts as not found'] = 1
    records = list(images.values())
    step = max(1, len(records) // (sample or len(records) or 1))
    return Facts(
        categories=list(names.items()),
        images=len(images),
        annotations=len(annotations) if 'annotations' in coco else None,
        objects=list(objects.values()),
        largest=list(largest.values()),
        largest_image=max((min(r['width'], r['height']) for r in records), default=0),
        sample=[(r['file_name'], r['width'], r['height']) for r in records[::step][:sample]],
        notes=problems.note_lines(),
    )


def _note_brush_masks(annotations: list[dict], problems: Problems) -> None:
    polygons = sum(isinstance(a.get('segmentation'), list) for a in annotations)
    crowds = sum(
        isinstance(a.get('segmentation'), dict) and bool(a.get('iscrowd')) for a in annotations
    )
    if polygons and crowds > BRUSHES * len(annotations):
        problems.notes[
            'annotations among polygons are run lengths with iscrowd=1, as brushes of annotation '
            'tools write them: MMDetection trains on none. Set iscrowd=0 for single objects'
        ] = crowds


def cache_file(kind: str, *key: str | os.PathLike | bool) -> Path:
    """Where what was found about a file or folder is kept, in torch's hub folder."""
    text = '\n'.join([str(VERSION), *(str(part) for part in key)])
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    return Path(torch.hub.get_dir(), 'se_det', kind, f'{digest}.json')


def stamp(path: str | os.PathLike) -> list[int]:
    """What changes when a file does: size and times."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process check a file, while the others of a job wait for what it finds.

    Args:
        path: of `cache_file`. Where nothing can be locked beside it, no process waits.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(path.with_suffix('.lock').open('w'))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def load_facts(path: Path, ann_file: Path) -> Facts | None:
    """Read the facts of an annotation file that has not changed since."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text())
        if kept['stamp'] == stamp(ann_file):
            return Facts(**kept['facts'])
    return None


def save_json(path: Path, content: dict) -> None:
    """Write a file of the cache whole or not at all; a cache that cannot be written is no error."""
    with suppress(UsageError):
        write_whole(path, json.dumps(content).encode())


def save_facts(path: Path, checked: list[int], facts: Facts) -> None:
    """Keep the facts of a file whose stamp was ``checked`` before it was read.

    Not those of a file of this moment: it could change again without another stamp.
    """
    if time.time_ns() - checked[1] < RECENT:
        return
    save_json(path, dict(stamp=checked, facts=asdict(facts)))
