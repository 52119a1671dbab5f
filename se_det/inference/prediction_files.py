"""Detections in COCO's format, written image by image."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from se_det.datasets.check.annotation_file import read_annotations
from se_det.datasets.check.form import check_categories
from se_det.datasets.check.problems import Problems
from se_det.errors import UsageError
from se_det.files import write_json
from se_det.inference.detections import Detections

PREDICTIONS, IMAGES = 'predictions.json', 'images.json'


class Ids:
    """The ids of images and categories: counted from 1, or those of an annotation file.

    Args:
        classes: the names of the detector's classes.
        images: the names of the images.
        ann: the annotation file, in COCO's format; None: count.

    Raises:
        UsageError: the file cannot be used, or lacks one of the classes or images.
    """

    def __init__(self, classes: Sequence[str], images: Sequence[str], ann: str | None) -> None:
        self._ann = ann
        self._count = 0
        if ann is None:
            self.categories = [dict(id=label, name=name) for label, name in enumerate(classes, 1)]
        else:
            content = read_annotations(ann)
            names = check_categories(content['categories'], Problems())
            ids = {name: key for key, name in names.items()}
            unknown = [name for name in classes if name not in ids]
            if unknown:
                raise UsageError(f'{ann} has no category {unknown[0]!r}; it has {list(ids)}.')
            self.categories = [dict(id=ids[name], name=name) for name in classes]
            records = [image for image in content['images'] if isinstance(image, dict)]
            self._images = {image.get('file_name'): image.get('id') for image in records}
            lacking = [name for name in images if name not in self._images]
            if lacking:
                raise UsageError(
                    f'{ann} lacks {len(lacking)} of {len(images)} images, first {lacking[0]}; it '
                    f'has {next(iter(self._images), "none")}. Give the folder that its names start '
                    'from, or leave --ann out.'
                )

    def image(self, name: str) -> int:
        """The id of an image; without annotations, the next one."""
        if self._ann:
            return self._images[name]
        self._count += 1
        return self._count


class PredictionFiles:
    """Two files in a folder: detections as COCO's results, and the images that they are of.

    ``predictions.json`` is a list of ``{image_id, category_id, bbox, score}``, where ``bbox`` is x,
    y, width and height in pixels; with masks there is a ``segmentation``, run-length encoded.
    ``images.json`` has the images and categories of these ids, as an annotation file without
    annotations: ``COCO('images.json').loadRes('predictions.json')`` reads both. The images of a
    video have its name and ``frame``, counted from 0.

    Detections are written when they are added. The files get their names at the end; after an
    error or Ctrl-C, with what was added until then.

    Args:
        folder: where to write.
        ids: of images and categories.

    Raises:
        UsageError: the folder is not empty, or cannot be written to.
    """

    def __init__(self, folder: Path, ids: Ids) -> None:
        self.folder = folder
        self._ids = ids
        self._images: list[dict[str, Any]] = []
        self._separator = '['
        self._partial = folder / f'{PREDICTIONS}.partial'
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UsageError(
                    f'{folder} has files, which could be overwritten. Give a new folder as --out.'
                )
            self._file = self._partial.open('x')
        except OSError as error:
            raise UsageError(f'{folder} cannot be written to: {error.strerror}.') from error

    def __enter__(self) -> 'PredictionFiles':
        return self

    def add(self, name: str, image: np.ndarray, found: Detections, **facts: Any) -> None:
        """Write the detections in an image.

        Args:
            name: of the image, as ``file_name``.
            image: (H, W, 3).
            found: its detections.
            **facts: more of the image for ``images.json``.

        Raises:
            UsageError: a box or score is not a finite number, or the disk is full.
        """
        image_id = self._ids.image(name)
        height, width = image.shape[:2]
        self._images.append(dict(id=image_id, file_name=name, height=height, width=width, **facts))
        try:
            for result in self._results(image_id, found):
                self._file.write(f'{self._separator}\n{json.dumps(result, allow_nan=False)}')
                self._separator = ','
        except ValueError as error:
            raise UsageError(
                f'A box or score in {name} is not a finite number. Did the training diverge?'
            ) from error
        except OSError as error:
            raise UsageError(f'{self._partial} cannot be written: {error.strerror}.') from error

    def __exit__(self, *_: object) -> None:
        """Give the files their names."""
        try:
            with self._file:
                self._file.write('[]\n' if self._separator == '[' else '\n]\n')
            self._partial.replace(self.folder / PREDICTIONS)
        except OSError as error:
            raise UsageError(f'{self._partial} cannot be written: {error.strerror}.') from error
        write_json(
            self.folder / IMAGES,
            dict(images=self._images, annotations=[], categories=self._ids.categories),
        )

    def _results(self, image_id: int, found: Detections) -> list[dict[str, Any]]:
        corners = found.boxes.astype(float)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        results = [
            dict(image_id=image_id, category_id=self._ids.categories[label]['id'], bbox=b, score=s)
            for label, b, s in zip(
                found.labels.tolist(), boxes.tolist(), found.scores.tolist(), strict=True
            )
        ]
        if found.masks is not None and len(found):
            for result, mask in zip(results, found.masks, strict=True):
                encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
                counts = encoded['counts'].decode()
                result['segmentation'] = dict(size=encoded['size'], counts=counts)
        return results
