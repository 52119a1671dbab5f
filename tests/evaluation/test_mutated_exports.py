"""What the data check lets through evaluates with both libraries to the same digits.

Also in the page of a run and in compare_runs; what it does not let through is one message there.
"""

import json
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from se_det.datasets.check.annotation_file import read_annotations
from se_det.datasets.check.facts import check_content
from se_det.datasets.check.problems import Problems
from se_det.engine.coco_metric import LIBRARIES, EitherCocoMetric
from se_det.errors import UsageError
from se_det.evaluation import compare_runs
from se_det.report.hook import _scores

from ..datasets.check.mutated_exports import SIZES, check_many, mutated_export


def found_objects(content, rng):
    """What a detector might find: a few detections of each image, some near an object."""
    numbers = {category['id']: label for label, category in enumerate(content['categories'])}
    boxes = {image['id']: [] for image in content['images']}
    for annotation in content.get('annotations', []):
        x, y, w, h = annotation['bbox']
        near = [side + rng.uniform(-3, 3) for side in (x, y, x + max(w, 4), y + max(h, 4))]
        boxes[annotation['image_id']].append((near, numbers[annotation['category_id']]))
    for image in content['images']:
        found = boxes[image['id']]
        found += [([4, 4, 30, 30], rng.randrange(len(numbers))) for _ in range(rng.randint(0, 2))]
        found = rng.sample(found, rng.randint(0, len(found)))
        height, width = int(image['height']), int(image['width'])
        corners = np.array([box for box, _ in found], float).reshape(-1, 4)
        polygons = [[x1, y1, x2, y1, x2, y2, x1, y2] for x1, y1, x2, y2 in corners]
        instances = dict(
            bboxes=torch.tensor(corners),
            labels=torch.tensor([label for _, label in found], dtype=torch.long),
            scores=torch.tensor([round(rng.random(), 1) for _ in found]),
            masks=[coco_mask.frPyObjects([p], height, width)[0] for p in polygons],
        )
        yield dict(
            img_id=image['id'], ori_shape=(height, width), pred_instances=instances, img_path=''
        )


def check_case(seed, folder, log):
    """Check, evaluate, page and compare_runs on one file; returns what became of it."""
    log.clear()
    export, rng = mutated_export(seed), random.Random(seed)
    metrics = ['bbox', 'segm'] if rng.random() < 0.5 else ['bbox']
    path, results = folder / 'train.json', folder / 'results.bbox.json'
    path.write_text(export.text)
    problems = Problems()
    try:
        content = read_annotations(path)
        facts = check_content(content, 'segm' in metrics, problems)
    except UsageError:
        problems.error('not an annotation file')
    if problems.errors:
        image = dict(image_id=1, category_id=1, bbox=[1, 1, 9, 9], score=0.5)
        results.write_text(json.dumps([image]))
        try:
            compare_runs([results], [results], path, resamples=100, workers=1)
        except UsageError as error:
            assert len(str(error)) < 10000
        return 'refused'

    samples = list(found_objects(content, rng))
    reports = []
    for library in LIBRARIES:
        prefix = str(folder / 'results')
        metric = EitherCocoMetric(
            str(path), library=library, metric=metrics, classwise=True, outfile_prefix=prefix
        )
        metric.dataset_meta = dict(classes=tuple(name for _, name in facts.categories))
        metric.process({}, samples)
        reports.append(metric.compute_metrics(metric.results))
    np.testing.assert_equal(*reports)
    for scores in _scores(metric):
        kind = scores.metric
        compared = compare_runs(
            [folder / f'results.{kind}.json'],
            [folder / f'results.{kind}.json'],
            path,
            metric=kind,
            resamples=100,
            workers=1,
        )
        for name, own in (('mAP', 'AP'), ('mAP_50', 'AP50'), ('mAP_s', 'APs'), ('mAP_m', 'APm')):
            expected = reports[0][f'{kind}_{name}']
            assert np.nan_to_num(scores.stats[own], nan=-1) == pytest.approx(expected, abs=6e-4)
            assert compared.metrics[own].baseline == pytest.approx(expected, abs=6e-4)
    taken_over = [text for text in log if 'takes over' in text]
    assert not taken_over, taken_over[0]
    return 'evaluated'


def test_200_mutated_exports(tmp_path, log):
    check_many(range(200), partial(check_case, folder=tmp_path, log=log), 'evaluated')


@pytest.mark.long
def test_10000_mutated_exports(tmp_path, log):
    check_many(range(10_000), partial(check_case, folder=tmp_path, log=log), 'evaluated')


def test_images_have_the_sizes_of_the_small_data_set():
    images = mutated_export(0, most=0).content['images']
    assert [(image['width'], image['height']) for image in images] == SIZES
    assert [Path(image['file_name']).suffix for image in images] == ['.png'] * len(SIZES)
