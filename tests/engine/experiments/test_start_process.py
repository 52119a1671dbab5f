import os
import subprocess
import sys

import pytest

from se_det.engine.experiments.start_process import Launcher
from se_det.errors import UsageError


def test_one_process(monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    command, environment = Launcher().command('se-0', 0)
    assert command[0] == sys.executable and command[1].endswith('/tools/train.py')
    assert command[2:] == ['CONFIG']
    assert environment == dict(os.environ)


@pytest.mark.parametrize(
    ('visible', 'per_run', 'expected'),
    [
        (None, 1, ['0', '1', '2']),
        (None, 1, ['0', '1', '2', '3', '0', '1']),
        ('5', 1, ['5', '5', '5']),
        ('5,6,none', 1, ['5', '6', '5']),
        ('4,5,6,7', 2, ['4,5', '6,7']),
        (None, 4, ['0,1,2,3']),
    ],
)
def test_devices_of_slots(monkeypatch, visible, per_run, expected):
    count = 4 if visible is None else len(visible.split(',')) - visible.count('none')
    monkeypatch.setattr('torch.cuda.device_count', lambda: count)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    launcher = Launcher(jobs=len(expected), gpus_per_run=per_run)
    launcher.check()
    commands = [launcher.command('se-0', slot) for slot in range(len(expected))]
    assert [environment['CUDA_VISIBLE_DEVICES'] for _, environment in commands] == expected
    if per_run > 1:
        assert commands[0][0][0].endswith('/tools/dist_train.sh')
        assert commands[0][0][1:] == ['CONFIG', str(per_run)]
        ports = [environment['PORT'] for _, environment in commands]
        assert len(set(ports)) == len(ports)


def test_more_devices_than_there_are(monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 4)
    with pytest.raises(UsageError, match=r'3 runs at once on 2 GPUs each need 6 GPUs; .* has 4'):
        Launcher(jobs=3, gpus_per_run=2).check()
    monkeypatch.setattr('shutil.which', lambda name: None)
    with pytest.raises(UsageError, match='srun is not on this machine'):
        Launcher(slurm='gpu').check()
    monkeypatch.setattr('shutil.which', lambda name: name)
    Launcher(jobs=3, gpus_per_run=2, slurm='gpu').check()  # not this machine's
    with pytest.raises(UsageError, match='1 or more'):
        Launcher(jobs=0).check()


def test_slurm_starts_mmdets_launcher(tmp_path, monkeypatch):
    """srun gets what MMDetection's tools/slurm_train.sh gives it."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    launcher = Launcher(jobs=4, gpus_per_run=16, slurm='gpu', srun_args=('--qos=low',))
    command, environment = launcher.command('se-3', 2)
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    *options, python, unbuffered, train, config, slurm = printed.stdout.split()
    assert options == [
        '--partition=gpu',
        '--job-name=se-3',
        '--qos=low',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--kill-on-bad-exit=1',
    ]
    assert (python, unbuffered, config, slurm) == (
        sys.executable,
        '-u',
        'CONFIG',
        '--launcher=slurm',
    )
    assert train.endswith('/tools/train.py')
