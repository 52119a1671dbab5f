"""Result files of a detector: the json of mmdet's CocoMetric, the pkl of its DumpDetResults."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle

from se_det.errors import UsageError
from se_det.evaluation.ground_truth import GroundTruth, read_json


@dataclass(frozen=True)
class Detections:
    """What a detector found, in the order of its file.

    Attributes:
        image: indices into the images of the ground truth, (D,).
        category: indices into its categories, (D,).
        score: (D,).
        area: of the box, or of the mask if there are masks, in pixels, (D,).
        shapes: boxes, [x, y, width, height] (D, 4), or a list of run-length encoded masks.
    """

    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    area: np.ndarray
    shapes: np.ndarray | list[dict]


def read_detections(path: str | Path, truth: GroundTruth, metric: str = 'bbox') -> Detections:
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
    read = _read_pkl if path.suffix in ('.pkl', '.pickle') else _read_json
    image_ids, category_ids, scores, shapes = read(path, truth, metric)
    image = _places(image_ids, truth.coco.image_numbers, truth.images, 'image', path, truth)
    category = _places(
        category_ids, truth.coco.category_numbers, truth.categories, 'category', path, truth
    )
    if metric == 'segm':
        _check_sizes(shapes, image, path, truth)
        area = np.array([rle.area(mask) for mask in shapes], dtype=float)  # a list: 255 at most
        finite = np.isfinite(scores)
    else:
        area = shapes[:, 2] * shapes[:, 3]
        finite = np.isfinite(scores) & np.isfinite(shapes).all(1)
    if not finite.all():
        raise UsageError(
            f'{path} has a score or box that is not a finite number, in {(~finite).sum()} of '
            f'{len(finite)} detections, first for image {image_ids[finite.argmin()]}. '
            'Did the training diverge? Evaluate another checkpoint.'
        )
    return Detections(image, category, scores, area, shapes)


def _read_json(path: Path, truth: GroundTruth, metric: str) -> tuple[Any, ...]:
    content = read_json(path)
    if not isinstance(content, list):
        raise UsageError(
            f'{path} is not a result file: expected a JSON list of detections, found a '
            f'{type(content).__name__}. Give the *.{metric}.json of outfile_prefix.'
        )
    key = 'segmentation' if metric == 'segm' else 'bbox'
    try:
        shapes = [detection[key] for detection in content]
        images = [detection['image_id'] for detection in content]
        categories = [detection['category_id'] for detection in content]
        scores = np.array([detection['score'] for detection in content], dtype=float)
        if metric == 'bbox':
            shapes = np.array(shapes, dtype=float).reshape(len(content), 4)
    except KeyError as error:
        raise UsageError(
            f'{path} is not a result file for {metric}: a detection has no {error}. '
            f'Give the *.{metric}.json of outfile_prefix.'
        ) from error
    except (TypeError, ValueError) as error:
        raise UsageError(f'{path} is not a result file: {error}.') from error
    return images, categories, scores, shapes


def _read_pkl(path: Path, truth: GroundTruth, metric: str) -> tuple[Any, ...]:
    samples = _unpickle(path)
    try:
        instances = [sample['pred_instances'] for sample in samples]
        ids = [sample['img_id'] for sample in samples]
        counts = [len(found['scores']) for found in instances]
        images = [key for key, count in zip(ids, counts, strict=True) for _ in range(count)]
        labels = _concatenated(instances, 'labels', (0,)).astype(int)
        if metric == 'segm':
            shapes = [mask for found in instances for mask in found['masks']]
            key = 'mask_scores' if any('mask_scores' in found for found in instances) else 'scores'
            scores = _concatenated(instances, key, (0,))
        else:
            shapes = _concatenated(instances, 'bboxes', (0, 4))
            shapes[:, 2:] -= shapes[:, :2]
            scores = _concatenated(instances, 'scores', (0,))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f'{path} does not hold detections for {metric}: {error!r}. Give the pkl of '
            'tools/test.py --out.'
        ) from error
    seen = set(ids)
    missing = [key for key in truth.coco.image_ids if key not in seen]
    if missing:
        raise UsageError(
            f'{path} lacks {len(missing)} of the {len(truth.images)} images of {truth.path}, '
            f'first {missing[0]}. Give the annotations that tools/test.py evaluated.'
        )
    if labels.size and labels.max() >= len(truth.labels):
        raise UsageError(
            f'{path} has label {labels.max()}, but {truth.path} has {len(truth.labels)} classes. '
            'Give the annotations, and the classes, that tools/test.py evaluated.'
        )
    categories = np.array(truth.coco.category_ids, dtype=object)[truth.labels[labels] - 1]
    return images, categories.tolist(), scores, shapes


def _unpickle(path: Path) -> list[dict]:
    try:
        with path.open('rb') as file:
            return _ResultsUnpickler(file).load()
    except OSError as error:
        raise UsageError(f'{path} cannot be read: {error.strerror}. Check the path.') from error
    except (
        pickle.UnpicklingError,
        EOFError,
        ImportError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise UsageError(
            f'{path} is not a whole pkl of tools/test.py --out, as if it was cut off while it was '
            f'written: {error}. Write it again.'
        ) from error


def _concatenated(instances: list[dict], key: str, empty: tuple[int, ...]) -> np.ndarray:
    """In float64, as the json has them."""
    values = [np.asarray(found[key], dtype=float) for found in instances]
    return np.concatenate([np.zeros(empty), *values])


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


def _places(
    ids: list, numbers: dict, known: np.ndarray, kind: str, path: Path, truth: GroundTruth
) -> np.ndarray:
    """Where the images or categories with these ids are in the ground truth."""
    try:
        found = np.array([numbers.get(key, 0) for key in ids], dtype=int)
    except TypeError as error:  # a list or dict
        raise UsageError(f'{path} has {kind} ids that are no ids: {error}.') from error
    places = np.searchsorted(known, found).clip(max=len(known) - 1)
    unknown = np.flatnonzero(known[places] != found)
    if len(unknown):
        raise UsageError(
            f'{path} has {kind} id {ids[unknown[0]]!r}, and {len(unknown) - 1} more detections '
            f'like it, which {truth.path} does not have. Give the annotations that it was '
            'evaluated with.'
        )
    return places


def _check_sizes(masks: list[dict], image: np.ndarray, path: Path, truth: GroundTruth) -> None:
    sizes = [(entry['height'], entry['width']) for entry in truth.coco.loadImgs(truth.images)]
    for mask, i in zip(masks, image.tolist(), strict=True):
        if tuple(mask['size']) != sizes[i]:
            raise UsageError(
                f'{path} has a mask of height and width {tuple(mask["size"])} for image '
                f'{truth.coco.image_ids[i]!r}, which is {sizes[i]} in {truth.path}. Give the '
                'annotations that it was evaluated with.'
            )
