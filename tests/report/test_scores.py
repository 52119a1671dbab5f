"""The report's numbers are pycocotools', and its counts add up."""

from dataclasses import replace

import numpy as np
import pytest

from se_det.evaluation.results import Results
from se_det.report.scores import score

from ..evaluation.conftest import judge
from .conftest import as_results, make_random, make_results, make_truth


def test_numbers_are_pycocotools_and_add_up():
    truth, results = make_random(1)
    scores = score(truth, results, 'bbox')
    values = np.nan_to_num(list(scores.stats.values()), nan=-1)
    np.testing.assert_array_equal(values, judge(truth.coco.dataset, as_results(results)).stats)
    assert np.mean([kind.ap for kind in scores.classes]) == pytest.approx(scores.stats['AP'])
    assert scores.precision.mean(1)[0] == pytest.approx(scores.stats['AP50'])
    confusion = scores.diagnosis.confusion
    assert confusion[:-1].sum(1).tolist() == [kind.objects for kind in scores.classes]
    assert confusion[:-1].sum() == len(truth.coco.anns)
    assert confusion[:, :-1].sum() == (results.score >= scores.diagnosis.threshold).sum()


def test_a_subset_of_the_classes():
    truth, found = make_random(3)
    some = np.array([2, 4])
    kept = np.isin(found.category, some - 1)
    category = np.searchsorted(some, found.category[kept] + 1)
    parts = (found.image[kept], category, found.score[kept], found.shapes[kept])
    scores = score(replace(truth, categories=some, labels=some), Results(*parts), 'bbox')
    assert list(scores.names) == [2, 4]
    assert scores.diagnosis.confusion.shape == (3, 3)
    assert all(
        ann['category_id'] in (2, 4) for image in scores.diagnosis.images for ann in image.truth
    )


def test_without_detections_and_without_objects_of_a_class():
    truth = make_truth([(1, 1, (10, 10, 20, 20))])
    scores = score(truth, make_results(truth, []), 'bbox')
    assert scores.stats['AP'] == 0 and np.isnan(scores.stats['APl'])
    assert np.isnan(scores.classes[1].ap)
    assert scores.diagnosis.confusion.tolist() == [[0, 0, 0, 1], *[[0] * 4] * 3]
