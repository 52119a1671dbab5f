"""Signals save a checkpoint and end the training with one line."""

import os
import signal

import pytest
from mmengine.hooks import Hook

from se_det.command_line import usage_errors_alone
from se_det.engine.resume.checkpoint_files import latest_checkpoint
from se_det.errors import Interrupted

EVERY_EPOCH = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1))


class SignalAt(Hook):
    """Send this process a signal at an iteration, or in the validation after it."""

    def __init__(self, number, iteration, stage='train', times=1):
        self.number, self.iteration, self.stage, self.times = number, iteration, stage, times

    def before_train_iter(self, runner, **kwargs):
        self._send(runner.iter + 1, 'train')

    def before_val_iter(self, runner, **kwargs):
        self._send(runner.iter, 'val')

    def _send(self, iteration, stage):
        if (iteration, stage) == (self.iteration, self.stage):
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


@pytest.mark.parametrize('ema', [False, True])
@pytest.mark.parametrize('stage', ['train', 'val'])
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_and_the_rest_is_exact(toy_runner, tmp_path, number, stage, ema):
    average = [dict(type='EMAHook')] if ema else []
    whole = toy_runner('whole', default_hooks=EVERY_EPOCH, hooks=list(average))
    whole.train()
    iteration = 13 if stage == 'train' else 16
    hooks = [SignalAt(number, iteration, stage), *average]
    handlers = [signal.getsignal(other) for other in (signal.SIGTERM, signal.SIGUSR1)]
    with pytest.raises(
        Interrupted, match=rf'{number.name}: stopped after iteration {iteration} of 24'
    ) as stop:
        toy_runner('killed', default_hooks=EVERY_EPOCH, hooks=hooks).train()
    assert '--resume' in str(stop.value)
    assert stop.value.exit_status == 128 + number
    assert [signal.getsignal(other) for other in (signal.SIGTERM, signal.SIGUSR1)] == handlers
    saved = latest_checkpoint(tmp_path / 'killed')
    assert saved.name == 'interrupted.pth'
    resumed = toy_runner(
        'killed', resume=True, load_from=str(saved), default_hooks=EVERY_EPOCH, hooks=list(average)
    )
    assert resumed.train() is not None
    expected = whole.model.state_dict()
    assert all(weight.equal(expected[name]) for name, weight in resumed.model.state_dict().items())
    assert [path.name for path in (tmp_path / 'killed').glob('*.pth')] == ['epoch_3.pth']


def test_a_second_ctrl_c_stops_at_once(toy_runner, tmp_path):
    hooks = [SignalAt(signal.SIGINT, 3, times=2)]
    with pytest.raises(KeyboardInterrupt):
        toy_runner(hooks=hooks).train()
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_a_signal_that_ends_a_worker_too(toy_runner, tmp_path, monkeypatch):
    rarely = dict(checkpoint=dict(type='CheckpointHook', interval=5))
    runner = toy_runner(default_hooks=rarely, hooks=[SignalAt(signal.SIGTERM, 10)])

    def fail(*args, **kwargs):
        raise RuntimeError('DataLoader worker (pid 1) is killed by signal: Terminated.')

    monkeypatch.setattr(runner, 'save_checkpoint', fail)
    with pytest.raises(
        Interrupted, match=r'SIGTERM: stopped, and nothing was saved.*worker.*--resume'
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
