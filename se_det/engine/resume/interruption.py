"""SIGTERM, Slurm's SIGUSR1, a closing terminal and Ctrl-C end a training with a checkpoint."""

import signal
import time
from types import FrameType
from typing import Any

import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from se_det.engine.child_processes import SIGNALS, guard_workers
from se_det.engine.resume.checkpoint_files import INTERRUPTED, save_interrupted
from se_det.errors import Interrupted

# Signals so close are one: `timeout` sends two, torchrun forwards what its processes also receive.
SECONDS_TOGETHER = 1


class InterruptionHook(Hook):
    """After the iteration in which a signal arrives, save ``interrupted.pth`` and stop.

    If one process of several gets the signal, all stop after the same iteration. A second signal,
    more than a second later, ends the process at once, without saving.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.first = float('inf')  # when the first signal arrived here
        self.previous: dict[signal.Signals, Any] = {}
        self.group: torch.distributed.ProcessGroup | None = None

    def before_train(self, runner: Runner) -> None:
        """Handle signals from now on, in place of the workers too."""
        if get_dist_info()[1] > 1:
            self.group = torch.distributed.new_group(backend='gloo')
        for loop in filter(None, (runner.train_loop, runner.val_loop)):
            guard_workers(loop.dataloader)
        for number in SIGNALS:
            if (number, signal.getsignal(number)) != (signal.SIGHUP, signal.SIG_IGN):  # by nohup
                self.previous[number] = signal.signal(number, self._receive)

    def restore_handlers(self) -> None:
        """Handle signals as before the training."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Save and stop, if a signal arrived."""
        if self._received_by_any():
            self._stop(runner, runner.iter + 1)

    def after_val_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Save and stop, if a signal arrived."""
        if self._received_by_any():
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(runner)  # validation used the averaged weights
            self._stop(runner, runner.iter)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.first = min(self.first, time.monotonic())
        if time.monotonic() - self.first > SECONDS_TOGETHER:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = signal.Signals(number)

    def _received_by_any(self) -> bool:
        number = torch.tensor(self.received or 0)
        if self.group is not None:
            torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX, group=self.group)
        self.received = signal.Signals(int(number)) if number else None
        return self.received is not None

    def _stop(self, runner: Runner, iteration: int) -> None:
        save_interrupted(runner, iteration)
        if self.group is not None:  # torchrun ends all processes when the first of them ends
            torch.distributed.barrier(self.group)
        raise Interrupted(
            f'{self.received.name}: stopped after iteration {iteration} of {runner.max_iters}, '
            f'saved in {runner.work_dir}/{INTERRUPTED}. Type the same command with --resume to '
            'continue.',
            self.received,
        )
