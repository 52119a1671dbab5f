"""TIDE's error types: by hand, against recorded values of tidecv 1.0.1, and against pycocotools."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from se_det.report.detection_errors import error_costs
from se_det.report.judged_images import ERRORS, Verdict, judge_images

BOX = (10, 10, 20, 20)
NEAR = (10, 10, 20, 19)  # IoU 0.95 with BOX
FAR = (20, 10, 20, 20)  # IoU 1/3
TOUCHING = (28.5, 10, 20, 20)  # IoU 0.04
AWAY = (70, 70, 20, 20)


@pytest.mark.parametrize(
    ('detections', 'verdicts', 'missed'),
    [
        ([(1, BOX, 0.9)], ['CORRECT'], 0),
        ([(2, NEAR, 0.9)], ['CLASSIFICATION'], 0),
        ([(1, FAR, 0.9)], ['LOCALISATION'], 0),
        ([(2, FAR, 0.9)], ['BOTH'], 1),
        ([(1, BOX, 0.9), (1, NEAR, 0.8)], ['CORRECT', 'DUPLICATE'], 0),
        ([(1, BOX, 0.8), (1, NEAR, 0.9)], ['CORRECT', 'DUPLICATE'], 0),  # the better score finds
        ([(1, BOX, 0.9), (2, NEAR, 0.8)], ['CORRECT', 'CLASSIFICATION'], 0),
        ([(1, AWAY, 0.9)], ['BACKGROUND'], 1),
        ([(1, TOUCHING, 0.9)], ['BACKGROUND'], 1),
        ([], [], 1),
    ],
)
def test_one_object(make_truth, make_results, detections, verdicts, missed):
    truth = make_truth([(1, 1, BOX)])
    results = make_results(truth, [(1, *found) for found in detections])
    (image,) = judge_images(truth, results, 'bbox')
    assert [Verdict(verdict).name for verdict in image.verdicts] == verdicts
    assert error_costs([image]).counts[Verdict.MISSED] == missed


def test_crowds_and_images_without_objects(make_truth, make_results):
    truth = make_truth([(1, 1, (0, 0, 90, 90), True)], images=2)
    results = make_results(
        truth, [(1, 1, BOX, 0.9), (1, 1, NEAR, 0.8), (1, 2, BOX, 0.7), (2, 1, BOX, 0.6)]
    )
    first, second = judge_images(truth, results, 'bbox')
    assert first.verdicts.tolist() == [Verdict.IGNORED, Verdict.IGNORED, Verdict.BACKGROUND]
    assert second.verdicts.tolist() == [Verdict.BACKGROUND]


def test_what_mending_gains_by_hand(make_truth, make_results):
    """One class, two objects: one found; the other seen twice, too far off, below a false alarm."""
    truth = make_truth([(1, 1, BOX), (1, 1, AWAY)])
    off, further = (76, 70, 20, 20), (78, 70, 20, 20)
    results = make_results(
        truth,
        [(1, 1, BOX, 0.9), (1, 1, (40, 40, 9, 9), 0.8), (1, 1, further, 0.7), (1, 1, off, 0.6)],
    )
    costs = error_costs(list(judge_images(truth, results, 'bbox')))
    found = 51 / 101  # recalls 0 to 0.5, at precision 1
    off_iou, further_iou = (20 * (20 - shift) / (400 + 20 * shift) for shift in (6, 8))
    assert off_iou > 0.5 > further_iou  # the nearer one is a detection
    precision = 3 / 4 * 0 + 2 / 4  # two of the four are right, the second last of all
    assert costs.ap50 == pytest.approx(found + 50 / 101 * precision)
    assert costs.gains[Verdict.BACKGROUND] == pytest.approx(50 / 101 * (2 / 3 - 2 / 4))
    assert costs.gains[Verdict.LOCALISATION] == pytest.approx(50 / 101 * (2 / 3 - 2 / 4))
    assert costs.gains[Verdict.CLASSIFICATION] == costs.gains[Verdict.MISSED] == 0


def test_the_best_of_several_mends_an_object(make_truth, make_results):
    truth = make_truth([(1, 1, BOX)])
    results = make_results(truth, [(1, 1, FAR, 0.5), (1, 2, NEAR, 0.9), (1, 2, AWAY, 0.95)])
    costs = error_costs(list(judge_images(truth, results, 'bbox')))
    assert costs.gains[Verdict.CLASSIFICATION] == 1  # becomes class 1, at score 0.9
    assert costs.gains[Verdict.LOCALISATION] == 0  # is deleted: the object is another's to mend
    assert costs.counts[Verdict.MISSED] == 0


@pytest.mark.parametrize(
    ('seed', 'ap50', 'gains', 'counts'),
    [
        (0, 18.809, [2.44, 22.19, 2.3, 0.7, 3.29, 7.35], [9, 42, 21, 15, 34, 23]),
        (3, 28.529, [9.1, 13.12, 2.89, 1.68, 1.9, 10.01], [15, 34, 17, 14, 30, 18]),
        (6, 22.722, [6.95, 19.65, 1.89, 1.05, 1.8, 7.62], [15, 40, 20, 16, 21, 22]),
    ],
)
def test_tidecv(make_random, seed, ap50, gains, counts):
    costs = error_costs(list(judge_images(*make_random(seed), 'bbox')))
    assert 100 * costs.ap50 == pytest.approx(ap50, abs=5e-4)
    assert [100 * costs.gains[error] for error in ERRORS] == pytest.approx(gains, abs=5e-3)
    assert [costs.counts[error] for error in ERRORS] == counts


@given(seed=st.integers(0, 10**6), crowds=st.booleans(), metric=st.sampled_from(['bbox', 'segm']))
@settings(max_examples=25, deadline=None)
def test_ap50_is_pycocotools(make_random, as_coco, seed, crowds, metric):
    truth, results = make_random(seed, crowds, images=8, metric=metric)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth.coco, as_coco(truth, results), metric)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    images = list(judge_images(truth, results, metric))
    costs = error_costs(images)
    assert costs.ap50 == pytest.approx(max(0, evaluation.stats[1]), abs=1e-12)
    assert all(gain >= 0 for gain in costs.gains.values())
    false_positives = sum((image.verdicts > Verdict.IGNORED).sum() for image in images)
    assert sum(costs.counts.values()) - costs.counts[Verdict.MISSED] == false_positives


def test_the_threshold_is_where_f1_is_highest(make_random):
    truth, results = make_random(5)
    images = list(judge_images(truth, results, 'bbox'))
    threshold = error_costs(images).threshold

    def f1(threshold):
        correct = sum(image.found(threshold).sum() for image in images)
        found = sum((image.scores >= threshold).sum() for image in images)
        return 2 * correct / (found + len(truth.coco.anns))

    scores = np.concatenate([image.scores for image in images])
    assert f1(threshold) == max(map(f1, scores))


def test_no_detections_and_no_objects(make_truth, make_results):
    empty = make_truth([])
    costs = error_costs(list(judge_images(empty, make_results(empty, []), 'bbox')))
    assert costs.ap50 == 0 and set(costs.counts.values()) == {0}
    truth = make_truth([(1, 1, BOX)])
    costs = error_costs(list(judge_images(truth, make_results(truth, []), 'bbox')))
    assert costs.counts[Verdict.MISSED] == 1
