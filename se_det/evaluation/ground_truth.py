"""The annotations that detections are compared with."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pycocotools.cocoeval import Params

from se_det.datasets.check.annotation_file import read_annotations
from se_det.datasets.check.form import check_annotations, check_categories, check_images
from se_det.datasets.check.problems import Problems
from se_det.datasets.check.segmentations import check_segmentations
from se_det.errors import UsageError
from se_det.evaluation.numbered_coco import NumberedCOCO

PARAMS = Params('bbox')  # pycocotools' IoU thresholds, recall thresholds, areas and numbers
IOU_THRESHOLDS = PARAMS.iouThrs  # (T,) = (10,)
RECALL_THRESHOLDS = PARAMS.recThrs  # (101,)
AREAS = np.array(PARAMS.areaRng, dtype=float)  # (A, 2) = (4, 2): all, small, medium, large
MAX_DETECTIONS = PARAMS.maxDets  # 1, 10, 100 an image and category


@dataclass(frozen=True)
class GroundTruth:
    """A COCO annotation file.

    Attributes:
        path: the file.
        coco: the index of what is evaluated, in which images and categories have numbers.
        categories: the numbers of the categories to evaluate, ascending.
        labels: the number of the category that each label of a detector means.
        records: the images as in the file, in the order of their numbers.
    """

    path: Path
    coco: NumberedCOCO
    categories: np.ndarray
    labels: np.ndarray
    records: Sequence[dict] = ()

    @classmethod
    def read(
        cls, path: str | Path, classes: Sequence[str] | None = None, masks: bool = False
    ) -> 'GroundTruth':
        """Read an annotation file.

        Args:
            path: the file, in COCO's format.
            classes: the names of the categories to evaluate, as ``metainfo.classes`` of an mmdet
                config; default all.
            masks: whether segmentations are evaluated.

        Raises:
            UsageError: the file is missing, cut off or not in COCO's format, or a class is not
                among its categories.
        """
        path = Path(path)
        content = read_annotations(path)
        problems = Problems()
        names = check_categories(content['categories'], problems)
        images = check_images(content['images'], problems, has_files=False)
        annotations = check_annotations(content.get('annotations', []), images, names, problems)
        if masks:
            check_segmentations(annotations, images, True, problems)
        if problems.errors:
            shown = '\n'.join(f'  {line}' for line in problems.error_lines()[:10])
            raise UsageError(
                f'{path} has errors:\n{shown}\n'
                'Give the annotations that the detectors were evaluated with.'
            )
        unknown = [name for name in classes or () if name not in names.values()]
        if unknown:
            raise UsageError(
                f'{path} has no category {unknown[0]!r}; it has {list(names.values())}.'
            )
        coco = NumberedCOCO(content)
        labels = np.array(coco.getCatIds(catNms=list(classes or ())))
        records = sorted(content['images'], key=lambda image: coco.image_numbers[image['id']])
        return cls(path, coco, np.unique(labels), labels, records)

    @cached_property
    def images(self) -> np.ndarray:
        """The numbers of the images, ascending, (I,)."""
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
