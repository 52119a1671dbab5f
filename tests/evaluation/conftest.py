"""Made-up annotations and detections, and pycocotools as the judge of them."""

import contextlib
import copy
import io

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIZE = 160  # so that boxes of all three of COCO's areas fit


def ellipse(box):
    """A mask inside a box, run-length encoded as in result files."""
    x, y, width, height = box
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside = ((columns - x - width / 2) / (width / 2)) ** 2
    inside = inside + ((rows - y - height / 2) / (height / 2)) ** 2 <= 1
    mask = rle.encode(np.asfortranarray(inside, dtype=np.uint8))
    return {**mask, 'counts': mask['counts'].decode()}


def draw(rng, *, images=6, categories=3, objects=4, detections=8, levels=None, segm=False):
    """Draw annotations and results; ``levels`` rounds scores, so that some are equal."""
    classes = [dict(id=3 * k + 2, name=f'class {k}') for k in range(categories)]
    pictures = [
        dict(id=int(i), file_name=f'{i}.png', width=SIZE, height=SIZE)
        for i in rng.choice(1000, size=images, replace=False)
    ]
    annotations, results = [], []
    for picture in pictures:
        found = []
        for _ in range(rng.integers(objects + 1)):
            category = int(rng.integers(max(1, categories - 1)))  # the last has no objects
            box = _box(rng)
            annotation = dict(
                id=len(annotations) + 1,
                image_id=picture['id'],
                category_id=classes[category]['id'],
                bbox=box,
                area=box[2] * box[3] * rng.choice([0.6, 1.0]),
                iscrowd=int(rng.random() < 0.15),
            )
            if segm:
                annotation['segmentation'] = ellipse(box)
            annotations.append(annotation)
            if rng.random() < 0.9:
                found.append((category, _box(rng, near=box)))
        while len(found) < detections:
            found.append((int(rng.integers(categories)), _box(rng)))
        for category, box in found[: rng.integers(detections + 1)]:
            score = rng.random()
            score = float(np.round(score * levels) / levels if levels else score)
            result = dict(
                image_id=picture['id'], category_id=classes[category]['id'], bbox=box, score=score
            )
            if segm:
                result['segmentation'] = ellipse(box)
            results.append(result)
    rng.shuffle(results)
    return dict(images=pictures, annotations=annotations, categories=classes), results


def _box(rng, near=None):
    if near is None:
        width, height = np.exp(rng.uniform(np.log(8), np.log(SIZE - 8), size=2))
        x, y = rng.uniform(0, SIZE - width), rng.uniform(0, SIZE - height)
    else:
        x, y, width, height = np.array(near) + rng.normal(size=4) * 0.08 * near[2]
    return [float(v) for v in (max(x, 0), max(y, 0), max(width, 4), max(height, 4))]


def judge(annotations, results, metric='bbox', evaluation=None, most=None):
    """Evaluate by pycocotools, as mmdet's CocoMetric does."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(annotations)
        truth.createIndex()
        results = copy.deepcopy(results)
        if metric == 'segm':
            for result in results:
                result.pop('bbox', None)
        if results:
            detections = truth.loadRes(results)
        else:
            detections = COCO()
            detections.dataset = {**annotations, 'annotations': []}
            detections.createIndex()
        evaluation = (evaluation or COCOeval)(truth, detections, metric)
        evaluation.params.maxDets = most or evaluation.params.maxDets
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def resample(annotations, results, drawn):
    """Annotations and results of drawn images, each copy under a new id.

    Copies of an image stand side by side: ids follow the order of the images' own.
    """
    images = sorted(annotations['images'], key=lambda image: image['id'])
    pictures, objects, found = [], [], []
    for image, count in zip(images, drawn, strict=True):
        for _ in range(int(count)):
            new = len(pictures) + 1
            pictures.append({**image, 'id': new})
            objects += [
                {**entry, 'image_id': new}
                for entry in annotations['annotations']
                if entry['image_id'] == image['id']
            ]
            found += [
                {**entry, 'image_id': new} for entry in results if entry['image_id'] == image['id']
            ]
    objects = [{**entry, 'id': number} for number, entry in enumerate(objects, 1)]
    return {**annotations, 'images': pictures, 'annotations': objects}, found
