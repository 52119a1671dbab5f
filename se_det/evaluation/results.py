"""Result files of a detector: the json of mmdet's CocoMetric, the pkl of its DumpDetResults."""

import contextlib
import io
import json
import pickle
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle

from se_det.datasets.check.segmentations import run_lengths_fault
from se_det.errors import UsageError
from se_det.evaluation.ground_truth import GroundTruth


@dataclass(frozen=True)
class Results:
    """What a detector found, in the order of its file.

    Attributes:
        image: indices into the images of the ground truth, (D,).
        category: indices into its categories, (D,).
        score: (D,).
        shapes: boxes, [x, y, width, height] (D, 4), or a list of run-length encoded masks.
    """

    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    shapes: np.ndarray | list[dict]

    @cached_property
    def area(self) -> np.ndarray:
        """Of the box, or of the mask if there are masks, in pixels, (D,)."""
        if isinstance(self.shapes, list):  # one by one: of a list, areas are counted in eight bits
            return np.array([rle.area(mask) for mask in self.shapes], float)
        return self.shapes[:, 2] * self.shapes[:, 3]


def read_results(path: str | Path, truth: GroundTruth, metric: str = 'bbox') -> Results:
    """Read a result file.

    Args:
        path: ``*.bbox.json`` or ``*.segm.json``, as CocoMetric writes them with
            ``outfile_prefix``, or the pkl of ``tools/test.py --out``.
        truth: the annotations of the images.
        metric: ``'bbox'`` or ``'segm'``. As in mmdet, the area of a mask counts its pixels.

    Raises:
        UsageError: the file is missing, cut off or of another format, holds no masks for
            ``'segm'``, images or categories that the annotations do not have, or a score or box
            that is not a number.
    """
    path = Path(path)
    read = _read_pkl if _is_pickle(path) else _read_json
    image_ids, category_ids, scores, shapes = read(path, truth, metric)
    numbers, category_numbers = truth.coco.image_numbers, truth.coco.category_numbers
    image = _indices(image_ids, numbers, truth.images, 'image_id', path, truth)
    category = _indices(
        category_ids, category_numbers, truth.categories, 'category_id', path, truth
    )
    finite = np.isfinite(scores)
    if metric == 'segm':
        _check_masks(shapes, image, path, truth)
    else:
        finite &= np.isfinite(shapes).all(1)
    if not finite.all():
        raise UsageError(
            f'{path} has a score or box that is not a finite number, in {(~finite).sum()} of '
            f'{len(finite)} detections, first for image {image_ids[finite.argmin()]}. '
            'Did the training diverge? Evaluate another checkpoint.'
        )
    return Results(image, category, scores, shapes)


def gather(
    images: Iterable[tuple[int | str, Mapping]], metric: str
) -> tuple[list, np.ndarray, np.ndarray, np.ndarray | list[dict]]:
    """Put the detections of images one after the other.

    Args:
        images: the id of each and its detections: ``labels``, ``scores`` and ``bboxes`` with their
            corners, or ``masks`` and perhaps ``mask_scores``.
        metric: ``'bbox'`` or ``'segm'``.

    Returns:
        For each detection the id of its image, its label, its score and its shape, as in `Results`.

    Raises:
        ValueError: the parts of an image do not fit each other.
    """
    shape, score = ('masks', 'mask_scores') if metric == 'segm' else ('bboxes', 'scores')
    ids, labels, scores, shapes = [], [np.zeros(0)], [np.zeros(0)], []
    for image, found in images:
        scores.append(np.asarray(found[score if score in found else 'scores'], dtype=float))
        labels.append(np.asarray(found['labels'], dtype=float))
        shapes.append(found[shape])
        if not scores[-1].shape == labels[-1].shape == (len(shapes[-1]),):
            raise ValueError(
                f'image {image} has {len(shapes[-1])} {shape}, scores of shape '
                f'{scores[-1].shape} and labels of shape {labels[-1].shape}'
            )
        ids += [image] * len(shapes[-1])
    if metric == 'segm':
        shapes = [mask for masks in shapes for mask in masks]
    else:
        boxes = [np.asarray(boxes, dtype=float).reshape(-1, 4) for boxes in shapes]
        shapes = np.concatenate([np.zeros((0, 4)), *boxes])
        shapes[:, 2:] -= shapes[:, :2]
    return ids, np.concatenate(labels), np.concatenate(scores), shapes


def _read_json(path: Path, truth: GroundTruth, metric: str) -> tuple[Any, ...]:
    content = _json(path)
    if not isinstance(content, list):
        raise UsageError(
            f'{path} is not a result file: expected a JSON list of detections, found a '
            f'{type(content).__name__}. Give the *.{metric}.json of outfile_prefix.'
        )
    image_ids, category_ids, scores, shapes = [], [], [], []
    for number, detection in enumerate(content):
        try:
            image_ids.append(_of_type(detection['image_id'], int, float, str))
            category_ids.append(_of_type(detection['category_id'], int, float, str))
            scores.append(float(_of_type(detection['score'], int, float)))
            if metric == 'bbox':
                x, y, width, height = _of_type(detection['bbox'], list)
                shapes.append([float(_of_type(side, int, float)) for side in (x, y, width, height)])
            else:
                shapes.append(detection['segmentation'])
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise UsageError(
                f'{path} is not a result file for {metric}: detection {number} (of {len(content)}, '
                f'counted from 0) is {reprlib.repr(detection)}: {error!r:.99}. Expected image_id, '
                'category_id, score, and bbox [x, y, width, height] or segmentation. Give the '
                f'*.{metric}.json of outfile_prefix.'
            ) from error
    if metric == 'bbox':
        shapes = np.array(shapes, dtype=float).reshape(-1, 4)
    return image_ids, category_ids, np.array(scores, dtype=float), shapes


def _of_type(value: Any, *kinds: type) -> Any:
    """A value that JSON has as one of these types; true is no number."""
    if type(value) not in kinds:
        raise TypeError(f'{reprlib.repr(value)} is of another type')
    return value


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f'{path} cannot be read: {error.strerror}. Check the path.') from error
    except (RecursionError, ValueError) as error:  # also nested too deep, or thousands of digits
        raise UsageError(
            f'{path} cannot be read as JSON: {error}. If it was cut off while it was written, '
            'write it again.'
        ) from error


def _read_pkl(path: Path, truth: GroundTruth, metric: str) -> tuple[Any, ...]:
    samples = _unpickle(path)
    try:
        images = [(sample['img_id'], sample['pred_instances']) for sample in samples]
        seen = {image for image, _ in images}
        image_ids, labels, scores, shapes = gather(images, metric)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(
            f'{path} does not hold detections for {metric}: {error!r}. Give the pkl of '
            'tools/test.py --out.'
        ) from error
    missing = [key for key in truth.coco.image_ids if key not in seen]
    if missing:
        raise UsageError(
            f'{path} lacks {len(missing)} of the {len(truth.images)} images of {truth.path}, '
            f'such as {missing[0]!r}. Give the annotations that tools/test.py evaluated.'
        )
    wrong = ~np.isin(labels, np.arange(len(truth.labels)))
    if wrong.any():
        raise UsageError(
            f'{path} has label {labels[wrong][0]:g}, but {truth.path} has {len(truth.labels)} '
            'classes, from 0 on. Give the annotations, and the classes, that tools/test.py '
            'evaluated.'
        )
    category_ids = truth.coco.category_ids
    found = [category_ids[number - 1] for number in truth.labels[labels.astype(int)].tolist()]
    return image_ids, found, scores, shapes


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as mmengine's pkl files do, and no JSON file does."""
    with contextlib.suppress(OSError), path.open('rb') as file:
        return file.read(1) == b'\x80'
    return False


def _unpickle(path: Path) -> list[dict]:
    try:
        with path.open('rb') as file:
            return _ResultsUnpickler(file).load()
    except OSError as error:
        raise UsageError(f'{path} cannot be read: {error.strerror}. Check the path.') from error
    except Exception as error:  # a damaged file may raise any
        raise UsageError(
            f'{path} is not a whole pkl of tools/test.py --out, as if it was cut off while it was '
            f'written: {error}. Write it again.'
        ) from error


class _ResultsUnpickler(pickle.Unpickler):
    """Rebuilds tensors, arrays and containers, and runs nothing else that a file names."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few functions that the pkl of a detector needs."""
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            return lambda data: torch.load(io.BytesIO(data), weights_only=True)
        allowed = {
            'torch._utils': ('_rebuild_tensor_v2',),
            'collections': ('OrderedDict',),
            '_codecs': ('encode',),
            'numpy': ('ndarray', 'dtype'),
            'numpy._core.multiarray': ('_reconstruct', 'scalar'),
            'numpy.core.multiarray': ('_reconstruct', 'scalar'),
            'numpy._core.numeric': ('_frombuffer',),
            'numpy.core.numeric': ('_frombuffer',),
        }
        if name not in allowed.get(module, ()):
            raise pickle.UnpicklingError(f'{module}.{name} is not part of detections')
        return super().find_class(module, name)


def _indices(
    ids: list, numbers: dict, known: np.ndarray, name: str, path: Path, truth: GroundTruth
) -> np.ndarray:
    """The places of ids among those of the annotations; an id is never rounded to one."""
    place_of = {number: place for place, number in enumerate(known.tolist())}
    places = np.array([place_of.get(numbers.get(id_), -1) for id_ in ids], dtype=int)
    if (unknown := np.flatnonzero(places < 0)).size:
        raise UsageError(
            f'{path} has {name} {reprlib.repr(ids[unknown[0]])} in detection {unknown[0]}, and '
            f'{unknown.size - 1} more detections like it, which {truth.path} does not have. Give '
            'the annotations that it was evaluated with.'
        )
    return places


def _check_masks(masks: list, image: np.ndarray, path: Path, truth: GroundTruth) -> None:
    entries = truth.coco.loadImgs(truth.images.tolist())
    for number, (mask, i) in enumerate(zip(masks, image.tolist(), strict=True)):
        if fault := _mask_fault(mask, entries[i]):
            raise UsageError(
                f'{path} has a mask that is not run-length encoded for its image, in detection '
                f'{number}, {reprlib.repr(mask)}: {fault}. Image {truth.coco.image_ids[i]!r} is '
                f'{entries[i]["height"]} high and {entries[i]["width"]} wide in {truth.path}. Give '
                'the annotations that it was evaluated with, or write the file again.'
            )


def _mask_fault(mask: Any, image: dict) -> str | None:
    """The rule that a mask breaks; pycocotools reads past the end of counts that are too short."""
    counts = mask.get('counts') if isinstance(mask, dict) else None
    if isinstance(counts, bytes):
        counts = counts.decode('latin1')
    if not isinstance(counts, str) or not isinstance(mask.get('size'), list | tuple):
        return "expected {'size': [height, width], 'counts': text}"
    return run_lengths_fault(dict(size=[*mask['size']], counts=counts), image)
