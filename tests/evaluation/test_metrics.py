import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO

from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.matching import match
from se_det.evaluation.metrics import (
    class_mean,
    precision_and_recall,
    resampled_metrics,
    summaries,
)
from se_det.evaluation.resampling import draw_images
from se_det.evaluation.results import read_results

from .conftest import SIZE, draw, judge, resample


def ours(folder, annotations, results, metric='bbox'):
    (folder / 'gt.json').write_text(json.dumps(annotations))
    (folder / 'dt.json').write_text(json.dumps(results))
    truth = GroundTruth.read(folder / 'gt.json')
    return match(read_results(folder / 'dt.json', truth, metric), truth, metric), truth


def check_points(folder, annotations, results, metric='bbox'):
    """To the last digit."""
    expected = judge(annotations, results, metric)
    matches, truth = ours(folder, annotations, results, metric)
    precision, recall = precision_and_recall(matches, truth.positives)
    np.testing.assert_array_equal(precision, expected.eval['precision'][..., -1])
    np.testing.assert_array_equal(recall, expected.eval['recall'])
    np.testing.assert_array_equal(summaries(precision, recall)[0], expected.stats)
    return expected.stats


def check_resamples(folder, annotations, results, metric='bbox', resamples=3):
    """Against pycocotools on the drawn images, with no equal scores within an image and class."""
    places = {(r['image_id'], r['category_id'], r['score']): r for r in results}
    results = list(places.values())
    matches, truth = ours(folder, annotations, results, metric)
    weights = draw_images(len(truth.images), resamples, 0)
    means = class_mean(resampled_metrics(matches, truth.positives, weights))
    for resampled, drawn in zip(means.T, weights.T, strict=True):
        expected = judge(*resample(annotations, results, drawn), metric).stats
        np.testing.assert_allclose(np.nan_to_num(resampled, nan=-1), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([None, 3, 10]))
def test_point_values_are_those_of_pycocotools(tmp_path_factory, metric, seed, levels):
    rng = np.random.default_rng(seed)
    annotations, results = draw(rng, levels=levels, segm=metric == 'segm')
    check_points(tmp_path_factory.mktemp('points'), annotations, results, metric)


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([None, 3, 10]))
def test_resamples_are_pycocotools_on_the_drawn_images(tmp_path_factory, metric, seed, levels):
    rng = np.random.default_rng(seed)
    annotations, results = draw(rng, levels=levels, segm=metric == 'segm')
    check_resamples(tmp_path_factory.mktemp('resamples'), annotations, results, metric)


def scene(boxes, found, crowds=(), images=3):
    """The same objects and detections in each image; ``found`` has boxes and scores."""
    pictures = [
        dict(id=10 - i, file_name=f'{i}.png', width=SIZE, height=SIZE) for i in range(images)
    ]
    objects = [
        dict(
            image_id=picture['id'],
            category_id=1,
            bbox=list(box),
            area=box[2] * box[3],
            iscrowd=int(n in crowds),
        )
        for picture in pictures
        for n, box in enumerate(boxes)
    ]
    objects = [{**entry, 'id': n} for n, entry in enumerate(objects, 1)]
    results = [
        dict(image_id=picture['id'], category_id=1, bbox=list(box), score=score)
        for picture in pictures
        for box, score in found
    ]
    categories = [dict(id=1, name='here'), dict(id=2, name='nowhere')]
    return dict(images=pictures, annotations=objects, categories=categories), results


BOX, FAR = (10, 10, 40, 40), (100, 100, 50, 50)
CASES = {
    'nothing detected': scene([BOX], []),
    'nothing to find': scene([], [(BOX, 0.9)]),
    'equal scores in one image': scene([BOX, FAR], [(FAR, 0.5), ((60, 0, 9, 9), 0.5), (BOX, 0.5)]),
    'a false positive first': scene([BOX], [((60, 0, 9, 9), 0.5), (BOX, 0.5)]),
    'more than 100 detections': scene(
        [BOX, FAR], [((i, i, 40, 40), 0.9 - i % 7 / 10) for i in range(110)] + [(FAR, 0.1)]
    ),
    'a crowd takes many': scene(
        [BOX, FAR], [((10 + i, 10, 20, 20), 0.9 - i / 100) for i in range(9)] + [(FAR, 0.5)], {0}
    ),
    'areas at their limits': scene(
        [(0, 0, 32, 32), (40, 0, 96, 96), (0, 100, 33, 32)],
        [((0, 0, 32, 32), 0.9), ((40, 0, 96, 96), 0.8), ((0, 100, 32, 32), 0.7)],
    ),
    'a small detection of a medium object': scene([BOX], [((10, 10, 40, 25), 0.9), (BOX, 0.8)]),
}


@pytest.mark.parametrize('case', CASES)
def test_cases(tmp_path, case):
    check_points(tmp_path, *CASES[case])
    check_resamples(tmp_path, *CASES[case])


def real_images(shared, metric):
    """COCO's annotations, polygons and crowds included, found with errors."""
    path = shared / 'coco_mini' / 'annotations' / 'instances_val2017.json'
    annotations = json.loads(path.read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
    rng = np.random.default_rng(0)
    categories = [category['id'] for category in annotations['categories']]
    results = []
    for entry in annotations['annotations']:
        x, y, width, height = np.array(entry['bbox']) * rng.normal(1, 0.05, size=4)
        kind = entry['category_id'] if rng.random() < 0.8 else int(rng.choice(categories))
        result = dict(
            image_id=entry['image_id'],
            category_id=kind,
            bbox=[x, y, max(width, 1), max(height, 1)],
            score=round(float(rng.random()), 2),
        )
        if metric == 'segm':
            pixels = coco.annToMask(entry)
            pixels[:, : int(x + width * rng.random() / 2)] = 0
            mask = rle.encode(np.asfortranarray(pixels))
            result['segmentation'] = {**mask, 'counts': mask['counts'].decode()}
        results += [dict(result) for _ in range(rng.integers(3))]
    return annotations, results


def test_real_images(tmp_path, shared):
    stats = check_points(tmp_path, *real_images(shared, 'segm'), 'segm')
    assert 0.1 < stats[0] < 0.9
