"""The annotations that detections are compared with."""

import contextlib
import io
import json
import reprlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import Params

from se_det.errors import UsageError

PARAMS = Params('bbox')  # pycocotools' IoU thresholds, recall thresholds, areas and numbers
IOU_THRESHOLDS = PARAMS.iouThrs  # (T,) = (10,)
RECALL_THRESHOLDS = PARAMS.recThrs  # (101,)
AREAS = np.array(PARAMS.areaRng, dtype=float)  # (A, 2) = (4, 2): all, small, medium, large
MAX_DETECTIONS = PARAMS.maxDets  # 1, 10, 100 an image and category
LARGEST = 1e7  # no pixel coordinate is larger; comparing also rules out NaN and infinity

_short = reprlib.Repr()


@dataclass(frozen=True)
class GroundTruth:
    """A COCO annotation file.

    Attributes:
        path: the file.
        coco: pycocotools' index of it.
        categories: the ids of the categories to evaluate, ascending.
        labels: the id of the category that each label of a detector means.
    """

    path: Path
    coco: COCO
    categories: np.ndarray
    labels: np.ndarray

    @classmethod
    def read(cls, path: str | Path, classes: Sequence[str] | None = None) -> 'GroundTruth':
        """Read an annotation file.

        Args:
            path: the file, in COCO's format.
            classes: the names of the categories to evaluate, as ``metainfo.classes`` of an mmdet
                config; default all.

        Raises:
            UsageError: the file is missing, cut off or not in COCO's format, or a class is not
                among its categories.
        """
        path = Path(path)
        content = read_json(path)
        keys = ('images', 'categories')
        if not isinstance(content, dict) or any(not content.get(key) for key in keys):
            raise UsageError(
                f'{path} is not a COCO annotation file: expected a JSON object with images and '
                'categories. Give the file that the detectors were evaluated with.'
            )
        content.setdefault('annotations', [])
        for kind in ('images', 'categories', 'annotations'):
            entries = content[kind] if isinstance(content[kind], list) else [content[kind]]
            for number, entry in enumerate(entries):
                if fault := _fault(entry, kind):
                    raise UsageError(
                        f'{path} is not a COCO annotation file: {kind}[{number}] {fault}. '
                        'python -m se_det check_dataset CONFIG names all such entries.'
                    )
        coco = COCO()
        coco.dataset = content
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        ids = [annotation['id'] for annotation in content['annotations']]
        names = [category['name'] for category in content['categories']]
        if len(set(ids)) != len(ids):
            raise UsageError(f'{path} uses an annotation id twice; pycocotools needs unique ids.')
        unknown = [name for name in classes or () if name not in names]
        if unknown:
            raise UsageError(f'{path} has no category {unknown[0]!r}; it has {names}.')
        labels = np.array(coco.getCatIds(catNms=list(classes or ())))
        return cls(path, coco, np.unique(labels), labels)

    def mask(self, annotation: dict) -> dict:
        """The mask of an annotation, run-length encoded.

        Raises:
            UsageError: its segmentation, or the size of its image, is not as in COCO's format.
        """
        try:
            segmentation = annotation['segmentation']
            for polygon in segmentation if isinstance(segmentation, list) else ():
                if len(polygon) < 6 or not all(abs(place) < LARGEST for place in polygon):
                    raise ValueError(shortened(polygon))
            encoded = self.coco.annToRLE(annotation)
            mask_api.area(encoded)
        except Exception as error:  # of pycocotools' compiled code, many types
            raise UsageError(
                f'{self.path}: the segmentation of annotation {annotation["id"]} is neither '
                'polygons of six numbers or more nor a run-length encoded mask, or its image has '
                f'no height and width: {error!r}. Repair it, or compare boxes: --metric bbox'
            ) from error
        return encoded

    @cached_property
    def images(self) -> np.ndarray:
        """The ids of the images, ascending, (I,)."""
        return np.array(sorted(self.coco.getImgIds()))

    @cached_property
    def names(self) -> list[str]:
        """The names of the categories, in the order of ``categories``."""
        return [category['name'] for category in self.coco.loadCats(self.categories.tolist())]

    @cached_property
    def pairs(self) -> dict[tuple[int, int], list[dict]]:
        """The annotations of each (image, category), as indices, that has any."""
        categories = {category: k for k, category in enumerate(self.categories.tolist())}
        images = {image: i for i, image in enumerate(self.images.tolist())}
        pairs = defaultdict(list)
        for image, i in images.items():
            for annotation in self.coco.imgToAnns[image]:
                # As pycocotools' _prepare: a crowd is ignored, whatever 'ignore' says.
                annotation['ignore'] = annotation['iscrowd']
                if annotation['category_id'] in categories:
                    pairs[i, categories[annotation['category_id']]].append(annotation)
        return pairs

    @cached_property
    def positives(self) -> np.ndarray:
        """How many objects of a category and area must be found in an image, (A, K, I)."""
        counts = np.zeros((len(AREAS), len(self.categories), len(self.images)), dtype=np.int32)
        for (i, k), annotations in self.pairs.items():
            area = np.array([annotation['area'] for annotation in annotations])[:, None]
            inside = (area >= AREAS[:, 0]) & (area <= AREAS[:, 1])
            crowd = np.array([bool(annotation['ignore']) for annotation in annotations])
            counts[:, k, i] = inside[~crowd].sum(0)
        return counts


def _fault(entry: object, kind: str) -> str | None:
    """What is wrong with an entry of an annotation file, None if nothing is."""
    if type(entry) is not dict:
        return f'is {shortened(entry)}, not a JSON object'
    for name, is_right in FIELDS[kind].items():
        if name not in entry:
            return f'has no {name!r}'
        if not is_right(entry[name]):
            return f'has the {name} {shortened(entry[name])}'
    return None


def _is_id(value: object) -> bool:
    return type(value) in (int, float, str)


def _is_number(value: object, largest: float = LARGEST) -> bool:
    return type(value) in (int, float) and -largest < value < largest


def _is_box(value: object) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_number, value))


# What an evaluation reads of an entry.
FIELDS = dict(
    images=dict(id=_is_id),
    categories=dict(id=_is_id, name=lambda value: type(value) is str),
    annotations=dict(
        id=_is_id,
        image_id=_is_id,
        category_id=_is_id,
        bbox=_is_box,
        area=lambda value: _is_number(value, LARGEST**2),
        iscrowd=lambda value: value in (0, 1),
    ),
)


def read_json(path: Path) -> object:
    """Read a JSON file.

    Raises:
        UsageError: the file is missing, cut off or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deep. It is no file of COCO's formats.") from error
    except OSError as error:
        raise UsageError(f'{path} cannot be read: {error.strerror}. Check the path.') from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f'{path} is not a whole JSON file, as if it was cut off while it was written: {error}. '
            'Write it again.'
        ) from error
    except ValueError as error:  # of a number of thousands of digits
        raise UsageError(f'{path} has a number that cannot be read: {error}.') from error


def shortened(value: object) -> str:
    """A value of a file as messages show it."""
    return _short.repr(value)
