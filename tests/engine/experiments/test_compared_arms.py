import json

import pytest

from se_det.engine.experiments.compared_arms import compare_arms
from se_det.engine.experiments.experiment import Validation


@pytest.fixture
def validation(tmp_path):
    """Six images with a box each."""
    truth = dict(
        images=[dict(id=i, width=100, height=100) for i in range(6)],
        annotations=[
            dict(id=i + 1, image_id=i, category_id=1, bbox=[10, 10, 40, 40], area=1600, iscrowd=0)
            for i in range(6)
        ],
        categories=[dict(id=1, name='box')],
    )
    (tmp_path / 'truth.json').write_text(json.dumps(truth))
    return Validation(str(tmp_path / 'truth.json'), None, '')


def test_arms_are_compared_seed_by_seed(make_experiment, validation):
    """Plain finds nothing with seed 0 and all with seed 1, SE all with both, odd nothing."""
    experiment = make_experiment("""
arms['odd'] = arms['se']
comparisons = [('plain', 'se'), ('se', 'odd')]
""")
    for (arm, seed), run in experiment.runs.items():
        found = arm == 'se' or (arm, seed) == ('plain', 1)
        box = [10, 10, 40, 40] if found else [60, 60, 30, 30]
        score = 0.9 - seed / 10  # files of equal content are one seed
        boxes = [dict(image_id=i, category_id=1, bbox=box, score=score) for i in range(6)]
        run.folder.mkdir(parents=True)
        run.detections.write_text(json.dumps(boxes))
    better, worse = compare_arms(experiment, validation)
    ap = better.comparison.metrics['AP']
    assert (better.baseline, better.candidate) == ('plain', 'se')
    assert ap.baseline_seeds == (0, 1) and ap.candidate_seeds == (1, 1)
    assert worse.comparison.metrics['AP'].difference == -1
    assert str(better).startswith('# se against plain\n')
    written = json.loads((experiment.work_dir / 'se_against_plain/comparison.json').read_text())
    assert written['metrics']['AP']['difference'] == 0.5
