import json

import numpy as np
import pytest

from se_det.errors import UsageError
from se_det.evaluation import compare_runs

from .conftest import draw, judge


@pytest.fixture
def runs(write):
    """Annotations and the results of three seeds of two sides."""
    annotations, _ = draw(np.random.default_rng(0), images=12)
    results = []
    for seed in range(6):
        _, result = draw(np.random.default_rng(0), images=12)
        rng = np.random.default_rng(seed + 1)
        for detection in result:
            detection['score'] = float(rng.random())
        results.append(result)
    files = [write(f'{seed}.json', result) for seed, result in enumerate(results)]
    return write('gt.json', annotations), files, annotations, results


def test_values_of_each_seed_are_those_of_pycocotools(runs):
    ann_file, files, annotations, results = runs
    found = compare_runs(files[:3], files[3:], ann_file, resamples=100)
    expected = np.array([judge(annotations, result).stats for result in results])
    for m, metric in enumerate(found.metrics.values()):
        assert (*metric.baseline_seeds, *metric.candidate_seeds) == tuple(expected[:, m])
        assert metric.baseline == expected[:3, m].mean()
        if metric.difference is None:
            assert metric.low is None and metric.baseline == -1
        else:
            assert metric.low <= metric.difference <= metric.high
    precision = judge(annotations, results[0]).eval['precision'][:, :, :, 0, -1]
    classes = [found.classes[f'class {k}'].baseline_seeds[0] for k in range(3)]
    assert classes == [precision[:, :, k].mean() for k in range(3)]
    assert found.classes['class 2'].difference is None  # no objects


def test_one_side_against_itself_is_no_difference(runs):
    ann_file, files, *_ = runs
    found = compare_runs(files[:1], files[:1], ann_file, resamples=100)
    ap = found.metrics['AP']
    assert ap.difference == ap.low == ap.high == 0
    assert found.verdict.startswith('No difference is shown')
    assert 'images only' in found.verdict


def test_processes_and_their_number_change_nothing(runs):
    ann_file, files, *_ = runs
    one, two = [compare_runs(files[:1], files[1:2], ann_file, workers=n) for n in (1, 2)]
    assert one == two
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False))['seeds'] == 1


def test_better_and_worse_in_words(runs, write):
    ann_file, files, annotations, _ = runs
    perfect = [
        dict(
            image_id=entry['image_id'],
            category_id=entry['category_id'],
            bbox=entry['bbox'],
            score=0.9,
        )
        for entry in annotations['annotations']
    ]
    perfect = write('perfect.json', perfect)
    better = compare_runs(files[:2], [perfect] * 2, ann_file, resamples=200)
    assert better.verdict.startswith('The candidate is better')
    assert 'with two seeds a side' in better.verdict
    worse = compare_runs([perfect] * 3, files[:3], ann_file, resamples=200)
    assert worse.verdict.startswith('The candidate is worse')
    assert 'It covers the choice of images and of seeds.' in worse.verdict
    assert worse.to_table().count('\n') > 18


def test_seeds_missing_on_one_side(runs):
    ann_file, files, *_ = runs
    with pytest.raises(UsageError, match='3 of the baseline and 2 of the candidate'):
        compare_runs(files[:3], files[3:5], ann_file)


def test_nothing_detected_on_one_side(runs, write):
    ann_file, files, *_ = runs
    found = compare_runs([write('none.json', [])], files[:1], ann_file, resamples=100)
    assert found.metrics['AP'].baseline == 0


def test_a_mistake_in_one_file_is_one_message(runs, write):
    ann_file, files, *_ = runs
    with pytest.raises(UsageError, match='expected a JSON list'):
        compare_runs(files[:1], [write('bad.json', {})], ann_file)


def test_too_few_resamples(runs):
    ann_file, files, *_ = runs
    with pytest.raises(UsageError, match='needs 100 resamples or more'):
        compare_runs(files[:1], files[1:2], ann_file, resamples=10)
