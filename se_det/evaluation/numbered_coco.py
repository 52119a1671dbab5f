"""Annotations for an evaluation: what one reads of a file in COCO's format, ids numbered from 1.

Annotation tools write keys and ids that pycocotools never reads or hotcoco does not take:
``date_captured`` as a number, nested ``keypoints``, ids that are text, negative or huge. Given only
this, both evaluate any file that the data check accepts, to the same digits.
"""

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

from mmdet.datasets.api_wrappers import COCO
from pycocotools import mask as coco_mask


class NumberedCOCO(COCO):
    """A COCO index of annotations, without what an evaluation does not read.

    Images are numbered in the order of their ids, as pycocotools sorts them, and categories in the
    order of the file, as MMDetection's labels are. An annotation with id 0 keeps it: pycocotools
    counts it as not found.

    Args:
        content: of an annotation file: dicts in the lists ``images``, ``categories`` and
            ``annotations``. ``iscrowd`` counts as 0 where it is missing.
        sort_categories: number categories in the order of their ids.

    Attributes:
        image_ids: the id of each image in the file, by number less 1.
        category_ids: of each category, likewise.
    """

    def __init__(self, content: dict, sort_categories: bool = False) -> None:
        super().__init__()
        self.image_ids = sorted(
            {image['id'] for image in content['images']}, key=lambda key: (type(key) is str, key)
        )
        self.category_ids = [category['id'] for category in content['categories']]
        if sort_categories:
            self.category_ids.sort()
        self.image_numbers = _numbered(self.image_ids)
        self.category_numbers = _numbered(self.category_ids)
        images = [
            dict(
                id=self.image_numbers[image['id']],
                file_name=str(image.get('file_name', '')),
                width=int(image['width']),
                height=int(image['height']),
            )
            for image in content['images']
        ]
        categories = [
            dict(id=self.category_numbers[category['id']], name=category['name'])
            for category in content['categories']
        ]
        annotations = [
            self._annotation(number, annotation)
            for number, annotation in enumerate(content.get('annotations', []), 1)
            if annotation['image_id'] in self.image_numbers
            and annotation['category_id'] in self.category_numbers
        ]
        self._set(images, sorted(categories, key=lambda c: c['id']), annotations)

    def _annotation(self, number: int, annotation: dict) -> dict:
        kept = dict(
            id=number if annotation['id'] else 0,
            image_id=self.image_numbers[annotation['image_id']],
            category_id=self.category_numbers[annotation['category_id']],
            bbox=annotation['bbox'],
            area=annotation['area'],
            iscrowd=int(annotation.get('iscrowd', 0)),
        )
        if annotation.get('segmentation'):
            kept['segmentation'] = annotation['segmentation']
        return kept

    def loadRes(self, results: Sequence[dict]) -> COCO:
        """Index detections; there may be none.

        Args:
            results: with the ids of the file, as CocoMetric writes them.

        Raises:
            KeyError: an image or category is not in the file.
        """
        annotations = []
        for number, result in enumerate(results, 1):
            found = dict(
                id=number,
                image_id=self.image_numbers[result['image_id']],
                category_id=self.category_numbers[result['category_id']],
                score=result['score'],
                iscrowd=0,
            )
            if 'bbox' in result:
                found.update(bbox=result['bbox'], area=result['bbox'][2] * result['bbox'][3])
            else:
                mask = result['segmentation']
                found.update(
                    segmentation=mask,
                    area=float(coco_mask.area(mask)),
                    bbox=coco_mask.toBbox(mask).tolist(),
                )
            annotations.append(found)
        index = COCO()
        NumberedCOCO._set(index, self.dataset['images'], self.dataset['categories'], annotations)
        return index

    def _set(self: COCO, images: list, categories: list, annotations: list) -> None:
        self.dataset = dict(images=images, categories=categories, annotations=annotations)
        with contextlib.redirect_stdout(io.StringIO()):
            self.createIndex()


def _numbered(ids: Iterable[Any]) -> dict[Any, int]:
    return {key: number for number, key in enumerate(ids, 1)}
