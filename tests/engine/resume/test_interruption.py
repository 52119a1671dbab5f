"""Signals save a checkpoint and end the training with one line."""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest
from _command_line import usage_errors_alone
from mmengine.hooks import Hook

from se_det.checkpoints.reading import read_checkpoint
from se_det.engine.child_processes import SIGNALS
from se_det.engine.resume import interruption
from se_det.engine.resume.checkpoint_files import latest_checkpoint
from se_det.errors import Interrupted
from tools.dev.prove_resume import kill, still_alive

EVERY_EPOCH = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1))


class SignalAt(Hook):
    """Let the job receive a signal once: at an iteration, or in what comes after it."""

    def __init__(self, number, iteration, stage='train', send=None):
        self.number, self.iteration, self.stage = number, iteration, stage
        self.send = send or send_to_job

    def before_train_epoch(self, runner):
        self._send(runner.iter, 'before the first')

    def before_train_iter(self, runner, **kwargs):
        self._send(runner.iter + 1, 'train')

    def before_save_checkpoint(self, runner, checkpoint):
        self._send(runner.iter, 'save')

    def after_train_epoch(self, runner):
        self._send(runner.iter, 'between epochs')

    def before_val_iter(self, runner, **kwargs):
        self._send(runner.iter, 'val')

    def _send(self, iteration, stage):
        if (iteration, stage) == (self.iteration, self.stage):
            self.stage = 'sent'
            self.send(self.number)


def send_to_job(number):
    """Send a signal to all processes of the job, as Slurm does, the workers first."""
    pids = [*(child.pid for child in multiprocessing.active_children()), os.getpid()]
    subprocess.run(['kill', f'-{int(number)}', *map(str, pids)], check=True)


STAGES = {'before the first': (0, 1), 'train': (13, 13), 'save': (16, 16), 'val': (16, 16)}
STAGES['between epochs'] = (16, 16)  # in the validation that follows
LOADING = {'no workers': {}, '2 workers': dict(workers=2, persistent=False)}
LOADING['2 persistent workers'] = dict(workers=2)
CASES = [
    *(
        pytest.param(
            *case, marks=() if case[1] == 'train' or not LOADING[case[2]] else pytest.mark.long
        )
        for case in itertools.product([signal.SIGTERM], STAGES, LOADING)
    ),
    *itertools.product([signal.SIGUSR1, signal.SIGINT, signal.SIGHUP], ['train'], ['2 workers']),
]


@pytest.mark.parametrize(('number', 'stage', 'loading'), CASES)
def test_a_signal_saves_and_the_rest_is_exact(toy_runner, tmp_path, number, stage, loading):
    _check_signal(toy_runner, tmp_path, number, *STAGES[stage], stage, LOADING[loading])


@pytest.mark.parametrize('stage', ['train', 'val'])
def test_with_an_average_of_weights(toy_runner, tmp_path, stage):
    _check_signal(
        toy_runner, tmp_path, signal.SIGTERM, *STAGES[stage], stage, {}, [dict(type='EMAHook')]
    )


def test_in_a_validation_that_was_missed(toy_runner, tmp_path):
    """Gradients that are accumulated are in the checkpoint, though no iteration came after it."""
    options = dict(
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.01), accumulative_counts=3),
        default_hooks=EVERY_EPOCH,
    )
    whole = toy_runner('whole', **options)
    whole.train()
    resume = {}
    for _ in range(2):
        hooks = [SignalAt(signal.SIGTERM, 16, 'val')]
        with pytest.raises(Interrupted, match='after iteration 16'):
            toy_runner('killed', hooks=hooks, **options, **resume).train()
        resume = dict(resume=True, load_from=str(latest_checkpoint(tmp_path / 'killed')))
    _check_equal(toy_runner('killed', **options, **resume), whole)


def _check_signal(toy_runner, tmp_path, number, at, stops_at, stage, loading, average=()):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    whole = toy_runner('whole', default_hooks=EVERY_EPOCH, hooks=list(average))
    whole.train()
    hooks = [SignalAt(number, at, stage), *average]
    handlers = [signal.getsignal(other) for other in SIGNALS]
    with pytest.raises(
        Interrupted, match=rf'{number.name}: stopped after iteration {stops_at} of 24'
    ) as stop:
        toy_runner('killed', default_hooks=EVERY_EPOCH, hooks=hooks, **loading).train()
    assert '--resume' in str(stop.value)
    assert stop.value.exit_status == 128 + number
    assert [signal.getsignal(other) for other in SIGNALS] == handlers
    saved = latest_checkpoint(tmp_path / 'killed')
    assert saved.name == 'interrupted.pth'
    resumed = toy_runner(
        'killed',
        resume=True,
        load_from=str(saved),
        default_hooks=EVERY_EPOCH,
        hooks=list(average),
        **loading,
    )
    _check_equal(resumed, whole)
    assert [path.name for path in (tmp_path / 'killed').glob('*.pth')] == ['epoch_3.pth']


def _check_equal(resumed, whole):
    assert resumed.train() is not None
    expected = whole.model.state_dict()
    assert all(weight.equal(expected[name]) for name, weight in resumed.model.state_dict().items())


@pytest.mark.long
@pytest.mark.parametrize('loading', LOADING)
def test_thirty_signals_at_random_moments(toy_runner, tmp_path, loading):
    """Each lets a checkpoint be written and leaves no process; all that follows is exact."""
    context = multiprocessing.get_context('fork')
    moments = random.Random(0)
    rarely = dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=3)))
    whole = toy_runner('whole', **rarely, **LOADING[loading])
    started = time.monotonic()
    whole.train()
    seconds = time.monotonic() - started
    signals = finished = iteration = 0
    while signals < 30 or not finished:
        saved = latest_checkpoint(tmp_path / 'killed')
        begun = context.Event()
        options = dict(rarely, **LOADING[loading], hooks=[Begun(begun)])
        if saved:
            options |= dict(resume=True, load_from=str(saved))
        process = context.Process(target=_exit_as_tools_do, args=(toy_runner, options))
        process.start()
        assert begun.wait(60)
        threading.Event().wait(moments.uniform(0, seconds))
        number = SIGNALS[signals % len(SIGNALS)]
        job = kill(process.pid, number) if signals < 30 else []
        process.join(60)
        assert not still_alive(job)
        if process.exitcode in (0, -number):  # the latter at its end: signals are as before
            finished += 1
            weights = read_checkpoint(tmp_path / 'killed/epoch_3.pth')['state_dict']
            assert all(
                value.equal(weights[name]) for name, value in whole.model.state_dict().items()
            )
            shutil.rmtree(tmp_path / 'killed')
            iteration = 0
        else:
            signals += 1
            assert process.exitcode == 128 + number
            before = iteration
            iteration = read_checkpoint(tmp_path / 'killed/interrupted.pth')['meta']['iter']
            assert iteration >= before
    print(f'{signals} signals, {finished} trainings finished')


class Begun(Hook):
    """Tell another process that training has begun."""

    priority = 'LOWEST'

    def __init__(self, event):
        self.event = event

    def before_train_epoch(self, runner):
        self.event.set()

    before_val = before_train_epoch  # one that was missed


def _exit_as_tools_do(toy_runner, options):
    with usage_errors_alone():
        toy_runner('killed', **options).train()  # the seeds are set here: a fork changes them


def _status_of_fork(run):
    """The exit status of a function in a process of its own."""
    process = multiprocessing.get_context('fork').Process(target=run)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize('numbers', [('INT', 'INT'), ('TERM', 'TERM'), ('USR1', 'TERM')])
def test_a_second_signal_stops_at_once(toy_runner, tmp_path, monkeypatch, numbers):
    monkeypatch.setattr(interruption, 'SECONDS_TOGETHER', 0.05)

    def twice(_):
        for name in numbers:
            signal.raise_signal(getattr(signal, f'SIG{name}'))
            threading.Event().wait(0.1)  # toy_runner replaces time.sleep

    runner = toy_runner(hooks=[SignalAt(0, 3, send=twice)])
    assert _status_of_fork(runner.train) == -getattr(signal, f'SIG{numbers[1]}')
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_signals_that_come_together_are_one(toy_runner):
    """`timeout` sends two, and torchrun forwards what its processes received as well."""

    def twice(number):
        signal.raise_signal(number)
        signal.raise_signal(number)

    with pytest.raises(Interrupted, match='after iteration 3'):
        toy_runner(hooks=[SignalAt(signal.SIGTERM, 3, send=twice)]).train()


def test_nohup_is_respected(toy_runner):
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        runner = toy_runner(hooks=[SignalAt(signal.SIGHUP, 3)])
        runner.train()
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert runner.iter == 24


def test_a_process_that_this_one_needs_is_gone(toy_runner, monkeypatch):
    rarely = dict(checkpoint=dict(type='CheckpointHook', interval=5))
    runner = toy_runner(default_hooks=rarely, hooks=[SignalAt(signal.SIGTERM, 5)])

    def fail(*args, **kwargs):
        raise RuntimeError('Connection closed by peer.')

    monkeypatch.setattr(runner, 'save_checkpoint', fail)
    with pytest.raises(
        Interrupted, match=r'SIGTERM: stopped, and nothing was saved.*peer.*--resume'
    ):
        runner.train()


@pytest.mark.parametrize(
    ('error', 'status', 'line'),
    [
        (Interrupted('Stopped. Type --resume.', signal.SIGTERM), 143, 'Stopped. Type --resume.'),
        (KeyboardInterrupt(), 130, 'Stopped by Ctrl-C.'),
    ],
)
def test_the_tools_print_one_line(capsys, error, status, line):
    with pytest.raises(SystemExit) as end, usage_errors_alone():
        raise error
    assert end.value.code == status
    assert capsys.readouterr().err.strip().startswith(line)
