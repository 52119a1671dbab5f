"""Data-loader workers end with their parent, however it ends, and by nothing else."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from mmengine.dataset import worker_init_fn
from torch.utils.data import DataLoader

from se_det.engine.child_processes import SIGNALS, guard_workers
from tools.dev.prove_resume import is_gone, still_alive

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='for Linux')
STARTED = []


class Stuck:
    """The second sample never comes."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        while index % 2:
            time.sleep(1)
        return index


class Pids:
    """Samples are the process that loads them, what its initialisation noted and a number."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return os.getpid(), list(STARTED), random.random()


def _note(worker, name):
    STARTED.append([name, worker])


def _loader(data=None, **options):
    loader = DataLoader(
        data or Pids(), batch_size=None, num_workers=2, prefetch_factor=1, **options
    )
    guard_workers(loader)
    return loader


def test_workers_ignore_signals():
    batches = iter(_loader())
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(SIGNALS)
    first = next(batches)[0]
    for number in SIGNALS:
        subprocess.run(['kill', f'-{int(number)}', str(first)], check=True)
    assert [batch[0] for batch in batches][1] == first


def test_signals_at_the_start_of_workers():
    """No moment is left between the fork and what a worker does first."""

    def kill(worker):
        for number in SIGNALS:
            subprocess.run(['kill', f'-{int(number)}', str(os.getpid())], check=True)

    assert len(list(_loader(worker_init_fn=kill))) == 4


def test_the_initialisation_of_a_config_runs():
    samples = list(_loader(worker_init_fn=partial(_note, name='mine')))
    assert [started for _, started, _ in samples[:2]] == [[['mine', 0]], [['mine', 1]]]


def test_mmengines_seeds_stay():
    seeds = partial(worker_init_fn, num_workers=2, rank=0, seed=5)
    numbers = [number for _, _, number in _loader(worker_init_fn=seeds)]
    assert numbers[:2] == [random.Random(5).random(), random.Random(6).random()]


def _run(loader, pids, stay):
    batches = iter(loader)
    next(batches)
    pids.put([worker.pid for worker in batches._workers])
    if stay:
        next(batches)


def _start(stay, **options):
    """Start a process with a worker that is stuck, and one that is not."""
    context = multiprocessing.get_context('fork')
    pids = context.SimpleQueue()
    process = context.Process(target=_run, args=(_loader(Stuck(), **options), pids, stay))
    process.start()
    return process, pids.get()


def _check_that_none_is_left(process, workers):
    for number in SIGNALS:
        subprocess.run(['kill', f'-{int(number)}', *map(str, workers)], check=True)
    time.sleep(0.2)
    assert len(workers) == 2 and not any(map(is_gone, workers))
    process.kill()
    assert not still_alive(workers, seconds=4)


def test_no_worker_is_left_after_sigkill():
    """Not one that is at work: torch looks whether the parent lives between two batches."""
    _check_that_none_is_left(*_start(stay=True))


@pytest.mark.parametrize('persistent', [False, True])
def test_a_process_ends_beside_a_stuck_worker(capfd, persistent):
    process, workers = _start(stay=False, persistent_workers=persistent)
    process.join(30)
    assert process.exitcode == 0
    assert capfd.readouterr().err == ''
    assert not still_alive(workers, seconds=4)


RUN = """
import time
from torch.utils.data import DataLoader
from se_det.engine.child_processes import guard_workers

class Stuck:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        while index % 2:
            time.sleep(1)
        return index

if __name__ == '__main__':
    loader = DataLoader(Stuck(), num_workers=2, multiprocessing_context={method!r})
    guard_workers(loader)
    batches = iter(loader)
    next(batches)
    print(*[worker.pid for worker in batches._workers], flush=True)
    next(batches)
"""


@pytest.mark.long
@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
def test_with_other_start_methods(tmp_path, method):
    script = tmp_path / 'run.py'
    script.write_text(RUN.format(method=method))
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    _check_that_none_is_left(process, [int(pid) for pid in process.stdout.readline().split()])
