"""Read an annotation file as pycocotools does, with an error message for what is none."""

import gc
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from se_det.errors import UsageError


def read_annotations(ann_file: str | os.PathLike) -> dict:
    """Read a JSON file in COCO's form.

    Python's json module, as in pycocotools: what is checked is what training reads.

    Args:
        ann_file: the annotation file.

    Returns:
        The content; it has at least the lists ``images`` and ``categories``.

    Raises:
        UsageError: the file cannot be read, is not JSON, or lacks one of the lists.
    """
    try:
        with Path(ann_file).open() as file, without_garbage_collection():
            coco = json.load(file)
    except OSError as error:
        raise UsageError(f'{ann_file} cannot be read: {error.strerror}.') from error
    except RecursionError as error:
        raise _not_coco(ann_file, 'brackets are nested too deep') from error
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, a number of 5000 digits
        empty = os.path.getsize(ann_file) == 0
        raise _not_coco(ann_file, 'the file is empty' if empty else str(error)) from error
    if not isinstance(coco, dict):
        raise _not_coco(ann_file, f'it is a {type(coco).__name__}, not a dict of lists')
    for name in ('images', 'categories', 'annotations'):
        if not isinstance(coco.get(name, [] if name == 'annotations' else None), list):
            keys = ', '.join(map(repr, list(coco)[:8])) or 'none'
            raise _not_coco(ann_file, f'{name!r} is not a list in it; it has the keys {keys}')
    return coco


def _not_coco(ann_file: str | os.PathLike, reason: str) -> UsageError:
    return UsageError(
        f'{ann_file} is not a COCO annotation file: {reason}.\n'
        "Expected: {'images': [...], 'annotations': [...], 'categories': [...]}\n"
        'Set ann_file of the data set to such a file, or write this one again.'
    )


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collections while millions of small objects are made double the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
