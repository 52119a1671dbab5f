"""TIDE's errors: by hand, against recorded values of tidecv 1.0.1, and against pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from se_det.report.diagnosis import ERRORS, diagnose

from ..evaluation.conftest import judge
from .conftest import as_results, make_random, make_results, make_truth

BOX = (10, 10, 20, 20)
NEAR = (10, 10, 20, 19)  # IoU 0.95 with BOX
FAR = (20, 10, 20, 20)  # IoU 1/3
AWAY = (70, 70, 20, 20)


@pytest.mark.parametrize(
    ('detections', 'errors', 'missed'),
    [
        ([(1, BOX, 0.9)], [], 0),
        ([(2, NEAR, 0.9)], ['classification'], 0),
        ([(1, FAR, 0.9)], ['localisation'], 0),
        ([(2, FAR, 0.9)], ['both'], 1),
        ([(1, BOX, 0.8), (1, NEAR, 0.9)], ['duplicate'], 0),
        ([(1, AWAY, 0.9)], ['background'], 1),
        ([], [], 1),
    ],
)
def test_one_object(detections, errors, missed):
    truth = make_truth([(1, 1, BOX)])
    results = make_results(truth, [(1, *found) for found in detections])
    counts = diagnose(truth, results, 'bbox').counts
    assert counts.pop('missed') == missed
    assert [error for error, count in counts.items() if count] == errors


def test_crowds_and_images_without_objects():
    truth = make_truth([(1, 1, (0, 0, 90, 90), True), (2, 1, BOX, True)], images=3)
    results = make_results(
        truth,
        [(1, 1, BOX, 0.9), (1, 2, NEAR, 0.7), (2, 1, (22, 10, 20, 20), 0.6), (3, 1, BOX, 0.5)],
    )
    found = diagnose(truth, results, 'bbox')
    assert [image.wrong.tolist() for image in found.images] == [[False, True], [True], [True]]
    assert [image.f1(0.8) for image in found.images] == [1, 1, 1]
    assert found.counts == {**dict.fromkeys(ERRORS.values(), 0), 'background': 3}


def test_the_best_hundred_of_an_image_and_class_count():
    truth = make_truth([(1, 1, BOX)])
    results = make_results(truth, [(1, 1, AWAY, 0.9)] * 100 + [(1, 1, BOX, 0.8), (1, 2, BOX, 0.7)])
    found = diagnose(truth, results, 'bbox')
    assert found.counts['background'] == 100 and found.counts['missed'] == 0  # class 2 would find
    assert found.images[0].wrong.sum() == 101
    assert found.images[0].truth_scores.tolist() == [-np.inf]


@pytest.mark.parametrize(
    ('seed', 'ap50', 'gains', 'counts'),
    [
        (0, 18.809, [2.44, 22.19, 2.3, 0.7, 3.29, 7.35], [9, 42, 21, 15, 34, 23]),
        (3, 28.529, [9.1, 13.12, 2.89, 1.68, 1.9, 10.01], [15, 34, 17, 14, 30, 18]),
        (6, 22.722, [6.95, 19.65, 1.89, 1.05, 1.8, 7.62], [15, 40, 20, 16, 21, 22]),
    ],
)
def test_tidecv(seed, ap50, gains, counts):
    found = diagnose(*make_random(seed), 'bbox')
    assert 100 * found.ap50 == pytest.approx(ap50, abs=5e-4)
    assert [100 * found.gains[error] for error in ERRORS.values()] == pytest.approx(gains, abs=5e-3)
    assert [found.counts[error] for error in ERRORS.values()] == counts


@given(seed=st.integers(0, 10**6), crowds=st.booleans(), metric=st.sampled_from(['bbox', 'segm']))
@settings(max_examples=15)
def test_ap50_and_matches_are_those_of_pycocotools(seed, crowds, metric):
    truth, results = make_random(seed, crowds, images=8, metric=metric)
    evaluation = judge(truth.coco.dataset, as_results(results), metric)
    found = diagnose(truth, results, metric)
    assert found.ap50 == pytest.approx(max(0, evaluation.stats[1]), abs=1e-12)
    matched, wrong = 0, 0
    for image in filter(None, evaluation.evalImgs):
        if image['aRng'] == evaluation.params.areaRng[0]:
            counted = ~image['dtIgnore'][0]
            matched += (counted & (image['dtMatches'][0] > 0)).sum()
            wrong += (counted & (image['dtMatches'][0] == 0)).sum()
    assert sum((image.truth_scores > -np.inf).sum() for image in found.images) == matched
    assert sum(image.wrong.sum() for image in found.images) == wrong
    assert sum(found.counts.values()) - found.counts['missed'] == wrong


def test_the_threshold_is_where_f1_is_highest():
    truth, results = make_random(5)
    found = diagnose(truth, results, 'bbox')

    def f1(threshold):
        correct = sum((image.truth_scores >= threshold).sum() for image in found.images)
        return 2 * correct / ((results.score >= threshold).sum() + len(truth.coco.anns))

    assert f1(found.threshold) == max(map(f1, results.score))


def test_no_detections_and_no_objects():
    empty = make_truth([])
    found = diagnose(empty, make_results(empty, []), 'bbox')
    assert found.ap50 == 0 and set(found.counts.values()) == {0}
    truth = make_truth([(1, 1, BOX)])
    assert diagnose(truth, make_results(truth, []), 'bbox').counts['missed'] == 1


def test_confusion():
    truth = make_truth([(1, 1, BOX), (1, 2, AWAY), (2, 3, BOX), (1, 3, (0, 40, 60, 60), True)], 2)
    results = make_results(
        truth,
        [
            (1, 1, BOX, 0.9),
            (2, 3, BOX, 0.9),
            (1, 2, BOX, 0.8),  # its object is taken: no object
            (1, 3, (0, 40, 30, 30), 0.8),  # in a crowd: counts nowhere
            (1, 2, (68, 70, 20, 20), 0.8),
            (2, 1, AWAY, 0.1),  # below the threshold
        ],
    )
    found = diagnose(truth, results, 'bbox')
    assert found.threshold == 0.8
    assert found.confusion.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
