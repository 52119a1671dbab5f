"""Processes that are killed or asked to end: on one machine, and on two."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.dev.prove_resume import descendants, kill, still_alive

CHECKOUT = Path(__file__).parents[2]
SHAPES = 'configs/faster_rcnn_se_r50_shapes.py'
pytestmark = pytest.mark.long
FEW = [
    'train_dataloader.dataset.num_images=8',
    'val_dataloader.dataset.num_images=4',
    'test_dataloader.dataset.num_images=4',
    'train_dataloader.batch_size=2',
    'train_cfg.max_epochs=8',
    'randomness.seed=0',
]


class Job:
    """A training that runs in the background; its output is in ``log``."""

    def __init__(self, folder, processes, options, port, *arguments, before=(), **environment):
        (folder / 'data' / 'shapes').mkdir(parents=True, exist_ok=True)
        tool = [CHECKOUT / 'tools/dist_train.sh', SHAPES, str(processes)]
        if processes == 0:
            tool = [sys.executable, CHECKOUT / 'tools/train.py', SHAPES]
        self.log = folder / f'{len(list(folder.glob("*.log")))}.log'
        with self.log.open('wb') as output:
            self.process = subprocess.Popen(
                [*before, *tool, '--work-dir', 'run', *arguments, '--cfg-options', *FEW, *options],
                cwd=folder,
                env=dict(
                    os.environ,
                    PYTHON=sys.executable,
                    OMP_NUM_THREADS='1',
                    CUDA_VISIBLE_DEVICES='',
                    PORT=port,
                    **environment,
                ),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, pattern):
        while not re.search(pattern, self.log.read_text()):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def rank(self, number):
        """The process of a rank."""
        for pid in descendants(self.process.pid):
            if f'RANK={number}' in Path(f'/proc/{pid}/environ').read_text().split('\0'):
                return pid
        raise AssertionError(self.log.read_text())


def _log_files(tmp_path):
    """What mmengine logged, of which the console shows a part."""
    return '\n'.join(path.read_text() for path in (tmp_path / 'run').glob('*/*.log'))


def test_a_killed_rank_ends_the_job_and_is_named(quick, tmp_path, free_port):
    job = Job(tmp_path, 2, quick, free_port())
    job.wait_for(r'Epoch\(train\)\s+\[2\]')
    os.kill(job.rank(1), signal.SIGKILL)
    assert job.process.wait(timeout=30) != 0
    assert re.search(r'rank\s+: 1 .*\n\s+exitcode\s+: -9', job.log.read_text())


def _workers(count, persistent):
    return [
        f'{split}_dataloader.{option}'
        for split in ('train', 'val')
        for option in (f'num_workers={count}', f'persistent_workers={persistent}')
    ]


LOADING = {
    'no workers': [],
    '2 workers': _workers(2, False),
    '2 persistent workers': _workers(2, True),
}
PLACES = {
    'before the first iteration': 'Device:',
    'training': r'Epoch\(train\)\s+\[2\]\[1/',
    'validation or saving': r'Epoch\(train\)\s+\[1\]\[4/|Epoch\(train\)\s+\[1\]\[2/2',
}
CASES = [
    *itertools.product([0, 2], LOADING, ['TERM'], PLACES),
    *itertools.product([0, 2], ['2 workers'], ['USR1', 'INT'], ['training']),
]


@pytest.mark.parametrize(('processes', 'loading', 'name', 'place'), CASES)
def test_a_signal_to_the_job_saves_and_resumes(
    quick, tmp_path, free_port, processes, loading, name, place
):
    """All processes receive the signal, as with Slurm and systemd; none is left behind."""
    options = [*quick, *LOADING[loading]]
    job = Job(tmp_path, processes, options, free_port())
    job.wait_for(PLACES[place])
    number = getattr(signal, f'SIG{name}')
    everyone = kill(job.process.pid, number)
    assert job.process.wait(timeout=120) == (1 if processes else 128 + number)
    assert still_alive(everyone) == []
    text = job.log.read_text()
    assert f'SIG{name}: stopped after iteration' in text
    assert 'interrupted.pth. Type the same command with --resume' in text
    if processes == 0:
        assert 'Traceback' not in text
    assert (tmp_path / 'run' / 'interrupted.pth').exists()
    job = Job(tmp_path, processes, [*options, 'train_cfg.max_epochs=2'], free_port(), '--resume')
    assert job.process.wait() == 0, job.log.read_text()
    assert re.search(r'resumed epoch: \d, iter: \d', _log_files(tmp_path))
    assert not (tmp_path / 'run' / 'interrupted.pth').exists()


@pytest.mark.parametrize('name', ['TERM', 'USR1', 'KILL'])
def test_a_signal_to_torchrun_alone_saves(quick, tmp_path, free_port, name):
    """Also if it is killed: its processes then end by themselves."""
    job = Job(tmp_path, 2, [*quick, *LOADING['2 workers']], free_port())
    job.wait_for(PLACES['training'])
    everyone = descendants(job.process.pid)
    job.process.send_signal(getattr(signal, f'SIG{name}'))
    assert job.process.wait(timeout=120) != 0
    assert still_alive(everyone, seconds=60) == []
    assert (tmp_path / 'run' / 'interrupted.pth').exists()


def test_one_rank_that_receives_a_signal_stops_all(quick, tmp_path, free_port):
    job = Job(tmp_path, 2, quick, free_port())
    job.wait_for(PLACES['training'])
    os.kill(job.rank(1), signal.SIGTERM)
    assert job.process.wait(timeout=60) == 1
    assert (tmp_path / 'run' / 'interrupted.pth').exists()


@pytest.fixture
def hosts():
    """Two hosts: network namespaces with an address each, joined by a cable. Needs root."""
    names = ('se_det_a', 'se_det_b')

    def ip(arguments):
        return subprocess.run(['ip', *arguments.split()]).returncode

    if os.geteuid() or shutil.which('ip') is None or ip(f'netns add {names[0]}'):
        pytest.skip('not run: network namespaces need root and ip')
    ip(f'netns add {names[1]}')
    ip(f'link add cable_a netns {names[0]} type veth peer cable_b netns {names[1]}')
    for number, name in enumerate(names, 1):
        ip(f'-n {name} addr add 10.77.0.{number}/24 dev cable_{name[-1]}')
        ip(f'-n {name} link set cable_{name[-1]} up')
        ip(f'-n {name} link set lo up')
    yield names
    for name in names:
        ip(f'netns del {name}')


def test_two_hosts_train_and_resume_after_one_is_killed(quick, tmp_path, free_port, hosts):
    def start(*arguments):
        port = free_port()
        return [
            Job(
                tmp_path,
                1,
                quick,
                port,
                *arguments,
                before=('ip', 'netns', 'exec', name),
                NNODES='2',
                NODE_RANK=str(rank),
                MASTER_ADDR='10.77.0.1',
                GLOO_SOCKET_IFNAME=f'cable_{name[-1]}',
            )
            for rank, name in enumerate(hosts)
        ]

    first, second = start()
    first.wait_for(r'Epoch\(train\)\s+\[3\]\[1/2\]')  # 8 images, 2 for each host and step
    kill(second.process.pid)
    assert first.process.wait(timeout=30) != 0
    jobs = start('--resume')
    assert [job.process.wait() for job in jobs] == [0, 0], jobs[0].log.read_text()
    assert 'resumed epoch: 2, iter: 4' in _log_files(tmp_path)
    assert 'Epoch(val) [8]' in jobs[0].log.read_text()


FSDP = [
    'runner_type=FlexibleRunner',
    'strategy.type=FSDPStrategy',
    'strategy.model_wrapper.device_id=cpu',
    'strategy.model_wrapper.use_orig_params=True',
    'strategy.state_dict_cfg=full',
    'custom_hooks=[]',
    'optim_wrapper.optimizer.fused=None',
    'train_cfg.max_epochs=1',
]


def test_fsdp_trains_and_its_checkpoint_is_whole(tmp_path, quick, free_port, run):
    job = Job(tmp_path, 2, [*quick, *FSDP], free_port())
    assert job.process.wait() == 0, job.log.read_text()
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    tested = run('test.py', SHAPES, str(checkpoint), options=[*FEW, *quick])
    assert tested.returncode == 0 and 'newly' not in tested.stdout, tested.stdout
