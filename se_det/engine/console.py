"""What a run shows: what it consists of, progress, and what to do with its results.

Everything else that is logged is in the log file.
"""

import io
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import mmcv
import mmdet
import mmengine
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, Hook, logger_hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from se_det.engine.start.frozen_stages import starting_weights

PROGRESS = logger_hook.__file__
STEPS_OF_PYCOCOTOOLS = ('loading annotations', 'Done (t=', 'creating index', 'index created')


class ShownLines(logging.Filter):
    """Pass what se_det and the user's code log, progress and warnings."""

    libraries = tuple(
        os.path.join(os.path.dirname(library.__file__), '') for library in (mmengine, mmdet, mmcv)
    )

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show a record. That of ``print_log`` is one of mmengine, whoever calls it."""
        if record.levelno >= logging.WARNING:
            return 'deprecated' not in record.getMessage()
        return record.pathname == PROGRESS or not record.pathname.startswith(self.libraries)


def quieten(logger: MMLogger) -> None:
    """Show what `ShownLines` passes; the rest goes to the log file alone.

    Args:
        logger: the logger of a run.
    """
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(ShownLines())


@contextmanager
def silent_annotations() -> Iterator[None]:
    """Let pycocotools read annotations without a print for each of its steps."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            if not line.startswith(STEPS_OF_PYCOCOTOOLS):
                print(line)


class ConsoleHook(Hook):
    """Log what a run consists of and, at its end, where its results are and the next command.

    Args:
        cfg: the config of the run.
    """

    priority = 'LOWEST'

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.next = ''
        self.started: float | None = None

    def before_train(self, runner: Runner) -> None:
        """Log the start of a training."""
        self._log_start(runner, 'train', 'val')
        self.started = time.monotonic()

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Log the first iteration, as the first line of progress takes a while on a CPU."""
        if self.started is not None:
            seconds, self.started = time.monotonic() - self.started, None
            runner.logger.info(f'First of {runner.max_iters} iterations: {seconds:.1f} s')

    def after_train(self, runner: Runner) -> None:
        """Find the checkpoint to test; say so if a resumed training was at its end."""
        if self.started is not None:
            runner.logger.info(
                f'{self.cfg.load_from} is the end of this training: nothing was left to do. To '
                'train longer, raise max_epochs or max_iters in train_cfg, and the end in '
                'param_scheduler.'
            )
        saved = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        names = [getattr(hook, 'best_ckpt_path', None) or hook.last_ckpt for hook in saved]
        if checkpoint := next(filter(None, names), self.cfg.get('load_from')):
            self.next = f'. Next: python -m se_det test {self.cfg.filename} {_short(checkpoint)}'

    def before_test(self, runner: Runner) -> None:
        """Log the start of a test."""
        self._log_start(runner, 'test')
        checkpoint = self.cfg.load_from
        self.next = f'. Next: python -m se_det predict {self.cfg.filename} {checkpoint} IMAGE'

    def after_run(self, runner: Runner) -> None:
        """Log the end of a run."""
        runner.logger.info(f'Results: {_short(runner.work_dir)}/report.html{self.next}')

    def _log_start(self, runner: Runner, *splits: str) -> None:
        loaders = {split: getattr(runner, f'{split}_dataloader', None) for split in splits}
        data = ', '.join(
            f'{split} {len(loader.dataset)} images' for split, loader in loaders.items() if loader
        )
        device, threads, processes = get_device(), torch.get_num_threads(), get_world_size()
        if device == 'cuda':
            device = torch.cuda.get_device_name()
        for name, value in (
            ('Config', self.cfg.filename),
            ('Data', data),
            ('Weights', _weights(self.cfg)),
            ('Device', f'{device}; threads: {threads}; processes: {processes}'),
            ('Log', _short(runner.logger.log_file)),
        ):
            runner.logger.info(f'{name + ":":8} {value}')


def _short(path: str) -> str:
    """A path relative to the current folder, if it is below it."""
    relative = os.path.relpath(path)
    return path if relative.startswith('..') else relative


def _weights(cfg: Config) -> str:
    """Where the weights come from at the start."""
    if cfg.get('load_from'):
        return f'{cfg.load_from}{", resumed" if cfg.get("resume") else ""}'
    return ', '.join(sorted(starting_weights(cfg.model))) or 'random: from scratch'
