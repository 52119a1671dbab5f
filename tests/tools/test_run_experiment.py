"""An experiment as its user runs it, with detectors that train in seconds."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
FEW = {
    **{f'{split}_dataloader.dataset.data_root': 'shapes/' for split in ('train', 'val', 'test')},
    **{
        f'{split}_evaluator.ann_file': 'shapes/annotations/instances_val.json'
        for split in ('val', 'test')
    },
    'train_dataloader.dataset.num_images': 8,
    'val_dataloader.dataset.num_images': 4,
    'test_dataloader.dataset.num_images': 4,
    'train_dataloader.batch_size': 2,
    'train_cfg.max_epochs': 1,
    'model.test_cfg.rcnn.score_thr': 0.0,
    'custom_hooks': [],
}


@pytest.fixture
def plan(tiny, tmp_path):
    """Write a plan whose runs take seconds."""

    def write(text):
        (tmp_path / 'mine.py').write_text(f'{text}\ncfg_options = {tiny | FEW!r}\n')
        return 'mine.py'

    return write


def _comparison(finished):
    """The tables that are printed after the last run."""
    assert finished.returncode == 0, finished.stderr
    return finished.stdout[finished.stdout.index('# ') :]


@pytest.mark.long
def test_the_graft_study(run, plan, tmp_path):
    """A plain detector, and two arms that start from it: no verdict before all seeds are there."""
    text = """
_plain = 'configs/faster_rcnn_r50_shapes.py'
start = dict(config=_plain)
arms = dict(
    inserted=dict(config=_plain, se=True, fresh_se=True),
    grafted=dict(config=_plain, se=True),
)
"""
    early = run('run_experiment.py', plan(f'{text}seeds = 2'), '--seeds', '1')
    assert 'interim, 1 of 2 seeds: no verdict. It takes 2 seeds; start again' in early.stdout
    assert '# ' not in early.stdout
    assert not (tmp_path / 'work_dirs/mine/grafted_against_inserted').exists()
    finished = run('run_experiment.py', plan(f'{text}seeds = 1'))
    printed = _comparison(finished)
    assert printed.startswith('# grafted against inserted')
    assert 'These two checkpoints' in printed
    folder = tmp_path / 'work_dirs/mine'
    assert 'work_dirs/mine/grafted_against_inserted/report.html' in printed
    assert (folder / 'grafted_against_inserted/report.html').stat().st_size > 10_000
    logs = {
        arm: (folder / arm / 'seed_0/output.txt').read_text() for arm in ('inserted', 'grafted')
    }
    assert 'SE keeps its usual initialisation: 64 keys' in logs['inserted']
    assert 'with SE grafted to it' in logs['grafted']
    weights = [path.relative_to(folder) for path in folder.rglob('*.pth')]
    assert weights == [Path('start/seed_0/checkpoint.pth')]


@pytest.mark.long
def test_killed_ten_times_it_ends_with_the_same_table(run, plan, tmp_path):
    """SIGKILL of the tool alone or of its runs too, at random moments of real training."""
    file = plan("""
arms = {name: dict(config=f'configs/faster_rcnn_{name}_shapes.py') for name in ('r50', 'se_r50')}
seeds = 3
""")
    expected = _comparison(run('run_experiment.py', file, '--work-dir', 'uninterrupted'))
    expected = expected.replace('uninterrupted/', 'work_dirs/mine/')  # the page's path
    command = [sys.executable, str(CHECKOUT / 'tools/run_experiment.py'), file]
    rng = random.Random(0)
    cut_off = 0
    for kill in range(10):
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for line in process.stdout:
            if 'running' in line:
                break
        time.sleep(rng.uniform(0, 12))
        cut_off += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if kill % 3 else process.kill()
        process.wait()
    assert cut_off >= 5
    assert _comparison(run('run_experiment.py', file)) == expected
    again = run('run_experiment.py', file)
    assert _comparison(again) == expected
    assert 'running' not in again.stdout
    for arm in ('r50', 'se_r50'):
        for seed in range(3):
            found, wanted = (
                json.loads(
                    (tmp_path / folder / f'{arm}/seed_{seed}/detections.bbox.json').read_text()
                )
                for folder in ('work_dirs/mine', 'uninterrupted')
            )
            assert found == wanted
            assert len(found) > 100
