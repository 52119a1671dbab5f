import json

import numpy as np
import pytest

from se_det.errors import UsageError
from se_det.evaluation import compare_runs

from .conftest import draw, judge


@pytest.fixture
def runs(write):
    """Annotations and the results of three seeds of two sides."""
    annotations, found = draw(np.random.default_rng(0), images=12)
    scores = [np.random.default_rng(seed).random(len(found)).tolist() for seed in range(1, 7)]
    results = [
        [{**detection, 'score': score} for detection, score in zip(found, of_run, strict=True)]
        for of_run in scores
    ]
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


def test_processes_and_their_number_change_nothing(runs):
    ann_file, files, *_ = runs
    one, two = [compare_runs(files[:1], files[1:2], ann_file, workers=n) for n in (1, 2)]
    assert one == two
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False))['seeds'] == 1


def test_the_verdict_in_words(runs, write):
    ann_file, files, annotations, _ = runs
    objects = [
        {key: entry[key] for key in ('image_id', 'category_id', 'bbox')}
        for entry in annotations['annotations']
    ]
    perfect = [
        write(f'perfect_{score}.json', [{**entry, 'score': score} for entry in objects])
        for score in (0.7, 0.8, 0.9)
    ]

    def compare(baseline, candidate):
        return compare_runs(baseline, candidate, ann_file, resamples=200)

    better = compare(files[:2], perfect[:2])
    assert better.verdict.startswith('The candidate is better')
    assert 'with two seeds a side' in better.verdict
    worse = compare(perfect, files[:3])
    assert worse.verdict.startswith('The candidate is worse')
    assert 'It covers the choice of images and of seeds.' in worse.verdict
    assert worse.to_table().count('\n') > 18
    one = compare(files[:1], perfect[:1])
    assert one.verdict.startswith('These two checkpoints differ: ')
    assert 'one seed a side' in one.verdict and 'better' not in one.verdict
    itself = compare(files[:1], files[:1])
    assert itself.metrics['AP'].low == itself.metrics['AP'].high == 0
    assert itself.verdict.startswith('These two checkpoints show no difference')
    assert 'images only' in itself.verdict


def test_a_file_twice_is_one_seed(runs, write):
    ann_file, files, _, results = runs
    copy = write('copy.json', results[0])
    found = compare_runs([files[0], copy], [files[1], files[1]], ann_file, resamples=100)
    assert found.seeds == 1 and found.verdict.startswith('These two checkpoints')
    assert f'{copy} has the content of {files[0]}: they are one seed.' in found.verdict
    assert found.metrics == compare_runs(files[:1], files[1:2], ann_file, resamples=100).metrics
    with pytest.raises(UsageError, match=r'got 1 of the baseline and 2 of.*copy\.json has the'):
        compare_runs([files[0], copy], files[2:4], ann_file)
    with pytest.raises(UsageError, match='has the content of'):  # which are pairs?
        compare_runs([*files[:2], copy], [files[3], *files[3:5]], ann_file, paired=True)
    nothing = [write(name, []) for name in ('none.json', 'neither.json')]
    found = compare_runs(nothing, files[:2], ann_file, resamples=100)
    assert (found.seeds, found.metrics['AP'].baseline) == (2, 0)


def test_looks_that_were_planned(runs):
    ann_file, files, *_ = runs

    def width(count, **options):
        found = compare_runs(
            files[:count], files[3 : 3 + count], ann_file, resamples=100, **options
        )
        return found.metrics['AP'].high - found.metrics['AP'].low, found.verdict

    (alone, verdict), (early, first), (late, last) = (
        width(2),
        width(2, looks=[2, 3]),
        width(3, looks=[2, 3]),
    )
    assert 'look' not in verdict
    assert 'look 1 of the 2 that were planned, at 2, 3 seeds a side' in first
    assert 'look 2 of the 2' in last
    assert early > 2 * alone and late > width(3)[0]
    with pytest.raises(UsageError, match='are at 3, 6 seeds a side; got 2'):
        width(2, looks=[3, 6])
    for looks in ([1, 3], [3, 2], [2, 2.5], 3):
        with pytest.raises(UsageError, match='rising from 2 or more'):
            width(2, looks=looks)


def test_pairs_are_compared_where_they_were_planned(runs):
    ann_file, files, *_ = runs
    straight, crossed, unpaired = (
        compare_runs(files[:3], other, ann_file, resamples=100, paired=paired)
        for other, paired in (
            (files[3:], True),
            ([files[4], files[5], files[3]], True),
            (files[3:], False),
        )
    )
    assert 'from 12 images and 3 pairs of seeds.' in straight.verdict
    assert len({found.metrics['AP'].low for found in (straight, crossed, unpaired)}) == 3


def test_images_that_belong_together(runs, write):
    ann_file, files, annotations, _ = runs
    names = ['a_1', 'a_2', 'b_1', 'b_2', 'b_3', 'c_1']
    for number, image in enumerate(annotations['images']):
        image.update(file_name=f'{names[number % 6]}.png', video=names[number % 6][0])
    ann_file = write('grouped.json', annotations)

    def compare(group_by):
        return compare_runs(files[:2], files[3:5], ann_file, resamples=100, group_by=group_by)

    found = compare('video')
    assert found.groups == 3
    assert 'from 12 images in 3 groups and 2 seeds a side' in found.verdict
    assert found.metrics == compare('^(.)_').metrics == compare('^.').metrics
    assert found.metrics['AP'].low != compare('id').metrics['AP'].low
    for key, message in [
        ('vido', r'12 of 12 images have no group.*keys file_name, height, id, video, width'),
        ('a_', '8 of 12 images have no group, first '),
        ('png', 'all images are in one group'),
        ('(', 'no key of the images and no regular expression'),
    ]:
        with pytest.raises(UsageError, match=message):
            compare(key)
    del annotations['images'][3]['video']
    ann_file = write('grouped.json', annotations)
    with pytest.raises(UsageError, match='1 of 12 images have no group'):
        compare('video')


def test_mistakes(runs, write):
    ann_file, files, *_ = runs
    with pytest.raises(UsageError, match='expected a JSON list'):  # read in another process
        compare_runs(files[:1], [write('bad.json', {})], ann_file)
    with pytest.raises(UsageError, match='needs 100 resamples or more'):
        compare_runs(files[:1], files[1:2], ann_file, resamples=10)
