import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation import CocoMetric
from mmdet.evaluation.metrics import coco_metric

from se_det.errors import UsageError
from se_det.evaluation.coco_evaluation import EitherCocoMetric, HotCOCOeval, checked_library

from .conftest import draw, judge
from .test_detections import samples_of
from .test_metrics import CASES, real_images


def check(annotations, results, metric='bbox', most=None):
    expected, found = [
        judge(annotations, results, metric, evaluation=evaluation, most=most)
        for evaluation in (None, HotCOCOeval)
    ]
    for array in ('precision', 'recall', 'scores'):
        np.testing.assert_array_equal(found.eval[array], expected.eval[array])
    np.testing.assert_array_equal(found.stats, expected.stats)


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([None, 3, 10]))
def test_hotcoco_has_pycocotools_digits(metric, seed, levels):
    rng = np.random.default_rng(seed)
    check(*draw(rng, levels=levels, segm=metric == 'segm'), metric)


@pytest.mark.parametrize('case', CASES)
def test_cases(case):
    check(*CASES[case])


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
def test_real_images(shared, metric):
    check(*real_images(shared, metric), metric)


def test_as_many_detections_as_mmdet_counts():
    check(*draw(np.random.default_rng(0), levels=3), most=[100, 300, 1000])


def test_what_hotcoco_takes_otherwise_is_left_to_pycocotools():
    annotations, results = draw(np.random.default_rng(0))
    without_number = copy.deepcopy(results)
    without_number[0]['score'] = float('nan')
    check(annotations, without_number)
    for entry in annotations['annotations']:
        entry['id'] -= 1
    check(annotations, results)


def test_cocometric_reports_the_same_and_the_log_says_by_which(write, log):
    annotations, _ = draw(np.random.default_rng(0), segm=True)
    ann_file = str(write('gt.json', annotations))
    reports = []
    for library in ('hotcoco', 'pycocotools'):
        metric = EitherCocoMetric(
            ann_file, library=checked_library(library), metric=['bbox', 'segm'], classwise=True
        )
        metric.dataset_meta = dict(classes=[c['name'] for c in annotations['categories']])
        metric.process({}, list(samples_of(annotations)))
        reports.append(metric.evaluate(len(annotations['images'])))
        assert any(text.startswith(f'COCO metrics by {library} ') for text in log)
    np.testing.assert_equal(*reports)
    assert len(reports[0]) > 12
    plain = CocoMetric(ann_file=ann_file, metric=['bbox', 'segm'], classwise=True)
    plain.dataset_meta = metric.dataset_meta
    plain.process({}, list(samples_of(annotations)))
    np.testing.assert_equal(reports[0], plain.evaluate(len(annotations['images'])))
    assert coco_metric.COCOeval is not HotCOCOeval


def test_an_unknown_library():
    with pytest.raises(UsageError, match='coco_evaluation must be one of'):
        checked_library('x')
