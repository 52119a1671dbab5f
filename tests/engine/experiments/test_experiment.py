import json
import os
import random
import signal
import time

import pytest

from se_det.engine.experiments.experiment import Experiment, Validation
from se_det.engine.experiments.run_folder import State
from se_det.errors import UsageError


def nothing():
    pass


def table(experiment):
    """All that a finished experiment leaves to compare."""
    return {
        key: (run.result['metrics'], run.detections.read_text())
        for key, run in experiment.runs.items()
    }


def test_runs_are_trained_once_and_tidied(make_experiment, make_launcher):
    experiment = make_experiment()
    experiment.train(make_launcher(), nothing)
    runs = experiment.runs.values()
    assert all(run.state is State.FINISHED for run in runs)
    assert len({str(values) for values in table(experiment).values()}) == 4
    left = {path.name for run in runs for path in run.folder.iterdir()}
    assert left == {'detections.bbox.json', 'lock', 'output.txt', 'result.json'}
    for run in runs:  # one that was cut off is resumed
        expected = [str(run.config), '--work-dir', str(run.folder), '--resume']
        assert run.process.args[2:] == expected
    assert experiment.codes() == {'not known': [*runs]}
    experiment.runs['se', 1].result['code'] = 'torch 3'
    assert experiment.codes()['torch 3'] == [experiment.runs['se', 1]]
    more = make_experiment('seeds = 3')
    more.train(make_launcher(), nothing)
    assert [key for key, run in more.runs.items() if run.process] == [('plain', 2), ('se', 2)]


def test_jobs_have_slots_of_their_own(make_experiment, make_launcher):
    seen = set()

    experiment = make_experiment()

    def look():
        running = [run for run in experiment.runs.values() if run.state is State.RUNNING]
        seen.add(tuple(sorted(run.slot for run in running)))

    experiment.train(make_launcher(jobs=3, seconds=1), look)
    assert (0, 1, 2) in seen
    assert max(map(len, seen)) == 3
    assert all(len(set(slots)) == len(slots) for slots in seen)


SLOW_TO_END = """
import signal, sys, time
from pathlib import Path

def end(*_):
    told = time.time()
    time.sleep(3)
    Path(sys.argv[3], 'times').write_text(f'{told} {time.time()}')
    sys.exit(1)

signal.signal(signal.SIGTERM, end)
"""


def test_a_stop_ends_all_runs_at_once(make_experiment, make_launcher):
    launcher = make_launcher(jobs=4, seconds=60)
    launcher.script.write_text(SLOW_TO_END + launcher.script.read_text())
    experiment = make_experiment()
    runs = experiment.runs.values()

    def stop_when_all_train():
        outputs = [run.folder / 'output.txt' for run in runs]
        if all(path.exists() and path.read_text() for path in outputs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment.train(launcher, stop_when_all_train)
    times = [map(float, (run.folder / 'times').read_text().split()) for run in runs]
    told, ended = zip(*times, strict=True)
    assert max(told) < min(ended)


def test_arms_wait_for_their_start_and_its_checkpoint_stays(make_experiment, make_launcher):
    experiment = make_experiment("start = arms['plain']")
    order = []

    def look():
        order.extend(
            key for key, run in experiment.runs.items() if run.process and key not in order
        )

    experiment.train(make_launcher(jobs=2), look)
    for seed in (0, 1):
        assert order.index(('start', seed)) < order.index(('plain', seed))
        start, plain = experiment.runs['start', seed], experiment.runs['plain', seed]
        assert start.checkpoint.exists()
        assert plain.cfg.load_from == str(start.checkpoint)
        assert not [*plain.folder.glob('*.pth')]


def test_checkpoints_that_were_deleted(make_experiment, make_launcher):
    text = "keep_checkpoints = True; start = arms['plain']"
    experiment = make_experiment(text)
    experiment.train(make_launcher(), nothing)
    for run in experiment.runs.values():
        run.checkpoint.unlink()
    before = table(experiment)
    experiment = make_experiment(text)
    experiment.train(make_launcher(), nothing)
    assert table(experiment) == before
    (experiment.runs['se', 1].folder / 'result.json').unlink()
    with pytest.raises(UsageError, match=r'se, seed 1 starts from.*start.seed_1.*Delete'):
        make_experiment(text).train(make_launcher(), nothing)


def test_a_failed_run(make_experiment, make_launcher):
    """The message has what the run said; the other arm is trained; the next start tries again."""
    text = 'seeds = [0, 1, 2]'
    with pytest.raises(UsageError, match=r'(?s)plain, seed 1; se, seed 1 failed.*no luck'):
        make_experiment(text).train(make_launcher(fails=(1,)), nothing)
    experiment = make_experiment(text)
    states = [run.state for run in experiment.runs.values()]
    assert states.count(State.FINISHED) == 2 and states.count(State.WAITING) == 4
    experiment.train(make_launcher(), nothing)
    assert all(run.state is State.FINISHED for run in experiment.runs.values())


def test_a_folder_with_runs_of_another_config_or_that_were_damaged(make_experiment, make_launcher):
    experiment = make_experiment()
    experiment.train(make_launcher(), nothing)
    with pytest.raises(UsageError, match='another config than the plan has now'):
        make_experiment("cfg_options = {'train_cfg.max_epochs': 4}")
    run = experiment.runs['se', 1]
    result = run.folder / 'result.json'
    whole = result.read_bytes()
    for damaged in (whole[:-5], b'', b'{}', b'[]', b'{"metrics": {"coco/bbox_mAP": "x"}}'):
        result.write_bytes(damaged)
        with pytest.raises(UsageError, match=r'se/seed_1/result\.json is not the whole result'):
            make_experiment()
    result.write_bytes(whole)
    run.config.unlink()
    with pytest.raises(UsageError, match=r'its config .*se/seed_1\.py is not there'):
        make_experiment()


def test_a_work_dir_that_is_a_file(make_plan, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UsageError, match='file is a file'):
        Experiment(make_plan(), tmp_path / 'file')


def test_data_is_checked_before_anything_is_trained(make_plan, tmp_path, monkeypatch):
    def check(text=''):
        return Experiment(make_plan(text), tmp_path / 'experiment').check()

    monkeypatch.chdir(tmp_path)
    validation = check()
    assert validation.ann_file.endswith('/shapes/annotations/instances_val.json')
    assert validation.images.endswith('/shapes/val')
    with pytest.raises(UsageError, match=r'same ann_file and classes; found .*other\.json'):
        check("arms['se']['cfg_options'] = {'val_evaluator.ann_file': 'other.json'}")
    with pytest.raises(UsageError, match='num_classes must be'):
        check("arms['se']['cfg_options'] = {'model.roi_head.bbox_head.num_classes': 3}")


def test_killed_ten_times_it_ends_with_the_same_table(make_experiment, make_launcher):
    """SIGKILL of the runner alone, whose runs go on, or of its runs too, at random moments."""
    launcher = make_launcher(jobs=2, seconds=0.2)
    text = 'seeds = 9'
    rng = random.Random(0)
    runs = make_experiment(text).runs.values()
    for kill in range(10):
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            try:
                make_experiment(text).train(launcher, nothing)
            finally:
                os._exit(0)
        while not any(run.state is State.RUNNING for run in runs):
            time.sleep(0.01)
        time.sleep(rng.random() * 0.2)
        (os.killpg if kill % 2 else os.kill)(child, signal.SIGKILL)
        os.waitpid(child, 0)
    interrupted = make_experiment(text)
    interrupted.train(launcher, nothing)
    assert any(run.process for run in interrupted.runs.values())  # there was something left to do
    found = table(interrupted)
    for run in runs:
        (run.folder / 'result.json').unlink()
    anew = make_experiment(text)
    anew.train(launcher, nothing)
    assert all(run.process for run in anew.runs.values())
    assert found == table(anew)


def test_arms_are_compared_seed_by_seed(make_experiment, write):
    """Plain finds nothing with seed 0 and all with seed 1, SE all with both, odd nothing."""
    boxes = [dict(image_id=i, category_id=1, bbox=[10, 10, 40, 40]) for i in range(6)]
    truth = dict(
        images=[dict(id=i, width=100, height=100) for i in range(6)],
        annotations=[dict(box, id=i + 1, area=1600, iscrowd=0) for i, box in enumerate(boxes)],
        categories=[dict(id=1, name='box')],
    )
    validation = Validation(str(write('truth.json', truth)), None, '')
    experiment = make_experiment("arms['odd'] = arms['se']")
    for (arm, seed), run in experiment.runs.items():
        is_found = arm == 'se' or (arm, seed) == ('plain', 1)
        # files of equal content are one seed
        changed = dict(score=0.9 - seed / 10, **({} if is_found else dict(bbox=[60, 60, 30, 30])))
        run.folder.mkdir(parents=True)
        run.detections.write_text(json.dumps([{**box, **changed} for box in boxes]))
    better, worse = (
        experiment.compare(arms, validation).metrics['AP']
        for arms in (('plain', 'se'), ('se', 'odd'))
    )
    assert better.baseline_seeds == (0, 1) and better.candidate_seeds == (1, 1)
    assert (better.difference, worse.difference) == (0.5, -1)
