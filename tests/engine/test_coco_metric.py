import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation import CocoMetric
from mmdet.evaluation.metrics import coco_metric

from se_det.engine.coco_metric import LIBRARIES, EitherCocoMetric, HotCOCOeval, checked_library
from se_det.errors import UsageError

from ..evaluation.conftest import draw, judge
from ..evaluation.test_metrics import CASES, real_images
from ..evaluation.test_results import samples_of


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


def report_of(metric, annotations, samples):
    metric.dataset_meta = dict(classes=[c['name'] for c in annotations['categories']])
    metric.process({}, samples)
    return metric.evaluate(len(samples))


@pytest.fixture
def report(write):
    """What EitherCocoMetric reports of samples, drawn ones by default."""

    def of(annotations, samples=None, **options):
        metric = EitherCocoMetric(str(write('gt.json', annotations)), **options)
        return report_of(metric, annotations, samples or list(samples_of(annotations)))

    return of


def test_cocometric_reports_the_same_and_the_log_says_by_which(report, write, log):
    annotations, _ = draw(np.random.default_rng(0), segm=True)
    options = dict(metric=['bbox', 'segm'], classwise=True)
    plain = CocoMetric(ann_file=str(write('gt.json', annotations)), **options)
    expected = report_of(plain, annotations, list(samples_of(annotations)))
    assert len(expected) > 12
    for library in LIBRARIES:
        found = report(annotations, library=checked_library(library), **options)
        np.testing.assert_equal(found, expected)
        assert any(text.startswith(f'COCO metrics by {library} ') for text in log)
    assert coco_metric.COCOeval is not HotCOCOeval


@pytest.mark.parametrize('library', LIBRARIES)
def test_the_other_library_takes_over(report, log, monkeypatch, library):
    annotations, _ = draw(np.random.default_rng(0))
    expected = report(annotations)

    class Failing(LIBRARIES[library]):
        def evaluate(self):
            raise BaseException('a panic, which is no Exception')

    monkeypatch.setitem(LIBRARIES, library, Failing)
    np.testing.assert_equal(report(annotations, library=library), expected)
    assert any(f'COCO metrics: {library}' in text and 'takes over' in text for text in log)


@pytest.mark.parametrize('library', LIBRARIES)
def test_nothing_detected_is_zero(report, library):
    annotations, _ = draw(np.random.default_rng(0))
    samples = list(samples_of(annotations))
    for sample in samples:
        found = sample['pred_instances']
        sample['pred_instances'] = {name: value[:0] for name, value in found.items()}
    assert report(annotations, samples, library=library)['coco/bbox_mAP'] == 0


def test_names_of_classes_in_any_order(report):
    """Where ids of categories fall, MMDetection's own table has each class beside another's AP."""
    annotations, _ = draw(np.random.default_rng(0))
    samples = list(samples_of(annotations))
    expected = report(annotations, samples, classwise=True)
    numbers = {2: 9, 5: 4, 8: 1}
    for category in annotations['categories']:
        category['id'] = numbers[category['id']]
    for annotation in annotations['annotations']:
        annotation['category_id'] = numbers[annotation['category_id']]
    np.testing.assert_equal(report(annotations, samples, classwise=True), expected)


def test_a_detector_without_masks(report):
    annotations, _ = draw(np.random.default_rng(0), segm=True)
    samples = list(samples_of(annotations))
    for sample in samples:
        del sample['pred_instances']['masks'], sample['pred_instances']['mask_scores']
    with pytest.raises(UsageError, match='gives no masks'):
        report(annotations, samples, metric='segm')


def test_an_unknown_library():
    with pytest.raises(UsageError, match='coco_evaluation must be one of'):
        checked_library('x')
