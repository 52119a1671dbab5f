"""The table of all comparisons, made from files."""

import json
import re
import tarfile

import numpy as np
import pytest

from se_det.errors import UsageError
from se_det.evaluation import compare_runs
from tools.dev import evidence
from tools.dev.evidence import Compared


@pytest.fixture(scope='module')
def comparisons():
    return evidence.read_comparisons(ann_file=evidence.ROOT / 'no file')


def compared(baseline, candidate, *, arms=('plan/plain', 'plan/se')):
    difference = np.mean(candidate) - np.mean(baseline)
    return Compared(
        plan='plan',
        data='',
        about='',
        arms=arms,
        se_against_plain=True,
        repeats_seeds=False,
        standing='exploratory',
        looks=(len(baseline),),
        images=1,
        seeds=(baseline, candidate),
        difference=float(difference),
        interval=None,
        is_kept=False,
    )


def test_the_committed_page_is_what_its_sources_give(comparisons):
    page = evidence.PAGE.read_text()
    parts = evidence.parts_of_page(comparisons, evidence.read_runs())
    for name, part in parts.items():
        assert f'<!-- {name} -->\n{part}\n<!-- end -->' in page
    emptied = evidence.fill(page, dict.fromkeys(parts, ''))
    assert '| exploratory |' not in emptied
    assert evidence.fill(emptied, parts) == page


def test_the_committed_plot_is_what_its_sources_give(comparisons):
    drawn, committed = (
        re.findall(r'<text[^>]*>([^<]*)', svg)
        for svg in (evidence.plot(comparisons).decode(), evidence.PLOT.read_text())
    )
    assert drawn == committed


def test_means_of_metrics_are_those_of_the_runs(comparisons):
    for compared in comparisons:
        if compared.is_finished and not compared.repeats_seeds:  # those have one digit
            baseline, candidate = map(np.mean, compared.seeds)
            assert candidate - baseline == pytest.approx(compared.difference, abs=0.0151)


def test_a_trial_of_a_vaccine():
    # Thirteen trials of BCG (Colditz et al. 1994): tuberculosis and not, vaccinated and not.
    # The mean and its standard error are DerSimonian and Laird's by the R package metafor.
    trials = """4 119 11 128; 6 300 29 274; 3 228 11 209; 62 13536 248 12619; 33 5036 47 5761
        180 1361 372 1079; 8 2537 10 619; 505 87886 499 87892; 29 7470 45 7232
        17 1699 65 1600; 186 50448 141 27197; 5 2493 3 2338; 27 16886 29 17825"""
    a, b, c, d = np.array(re.findall(r'\d+', trials), float).reshape(-1, 4).T
    risks = np.log(a / (a + b)) - np.log(c / (c + d))
    variances = 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)
    mean, low, high = evidence.random_effects(risks, variances)
    assert mean == pytest.approx(-0.7141, abs=5e-5)
    standard_error, t = 0.1787, 2.1788
    assert (mean - low, high - mean) == pytest.approx((t * standard_error,) * 2, rel=0.03)


def test_equal_differences_keep_the_interval_of_their_variances():
    mean, low, high = evidence.random_effects(np.full(3, 2.0), np.full(3, 0.3))
    assert (mean, high - low) == (2, pytest.approx(2 * 4.3027 * np.sqrt(0.1), abs=1e-4))


def test_comparisons_with_one_baseline_are_one_difference():
    plain, first, second = [1.0, 3.0], [4.0, 4.0], [2.0, 6.0]
    family = [compared(plain, first), compared(plain, second, arms=('plan/plain', 'plan/se_2'))]
    other = compared([0.0, 2.0], [0.0, 2.0], arms=('plan/plain_2', 'plan/se_3'))
    within = (2 + 0 + 8) / 3  # sums of squares over degrees of freedom
    together, alone = evidence.families([*family, other])
    assert together == pytest.approx((2.0, within * (2 * (1 / 2) ** 2 + 4 * (1 / 4) ** 2)))
    assert alone == pytest.approx((0.0, 2.0))


@pytest.mark.parametrize(
    ('looks', 'expected'), [((5,), 0.05), ((3, 5), 0.08), ((3, 4, 5, 7), 0.12)]
)
def test_more_looks_alarm_more_often(looks, expected):
    assert evidence.false_alarm(looks) == pytest.approx(expected, abs=0.01)


def test_archived_runs_are_compared_when_all_are_there(tmp_path, comparisons):
    boxes = [dict(image_id=i, category_id=1, bbox=[0, 0, 20, 20 + i]) for i in range(8)]
    annotations = dict(
        images=[dict(id=i, width=90, height=90) for i in range(8)],
        annotations=[dict(box, id=n + 1, area=400, iscrowd=0) for n, box in enumerate(boxes)],
        categories=[dict(id=1, name='defect')],
    )
    ann_file = tmp_path / 'ann.json'
    ann_file.write_text(json.dumps(annotations))
    (tmp_path / 'runs.csv').write_text('plan,arm,seed,AP\n')
    arms = dict(baseline='new/plain', candidate='new/se')
    entry = dict(plan='new', data='steel', about='SE', **arms, se_against_plain=True)
    entry.update(repeats_seeds=False, standing='registered', looks=[2], images=8, metrics={})
    (tmp_path / 'comparisons.json').write_text(json.dumps([entry]))
    (tmp_path / 'new').mkdir()

    files = {}
    for arm, seed, found in (('plain', 9, 4), ('plain', 10, 5), ('se', 9, 7), ('se', 10, 8)):
        (waiting,) = evidence.read_comparisons(ann_file, tmp_path)
        assert not waiting.is_finished and sum(map(len, waiting.seeds)) == len(files)
        files[arm, seed] = tmp_path / f'{arm}_{seed}.json'
        files[arm, seed].write_text(json.dumps([dict(box, score=0.9) for box in boxes[:found]]))
        with tarfile.open(tmp_path / f'new/{arm}_{seed}.tar.xz', 'w:xz') as archive:
            archive.add(files[arm, seed], f'{arm}/seed_{seed}/detections.bbox.json')

    with pytest.raises(UsageError, match='Add --ann FILE'):
        evidence.read_comparisons(tmp_path / 'no file', tmp_path)
    (found,) = evidence.read_comparisons(ann_file, tmp_path)
    sides = [[files[arm, 9], files[arm, 10]] for arm in ('plain', 'se')]
    ap = compare_runs(*sides, ann_file).metrics['AP']
    assert found.seeds[1] == pytest.approx([100 * value for value in ap.candidate_seeds])
    assert found.interval == pytest.approx((100 * ap.low, 100 * ap.high))
    assert found.seeds[0][0] < found.seeds[0][1]  # seed 9 before seed 10
    row = evidence.parts_of_page([*comparisons, found], {})['comparisons'].splitlines()[-1]
    assert row.endswith('| registered |') and '*' not in row
    assert evidence.read_comparisons(tmp_path / 'no file', tmp_path) == [found]  # it is kept
