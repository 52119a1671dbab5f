"""A progress bar on a terminal in training, validation and test."""

import atexit
import logging
import sys
from collections.abc import Sequence
from datetime import timedelta

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

LINES_OF_PROGRESS = ' eta: '  # in the lines of the log that the bar replaces


class ProgressHook(Hook):
    """Show epoch, iteration, loss, images per second and time left in a bar.

    It does so on a terminal only. There, mmengine's lines of progress go to the log file alone;
    other lines appear above the bar.

    Args:
        console: where to show it; default standard output.
    """

    priority = 'LOW'  # after mmengine's timer and loss are up to date

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout)
        self.bar: Progress | None = None
        self.tasks: dict[str, TaskID] = {}

    def before_run(self, runner: Runner) -> None:
        """Start the bar, below the log."""
        if not (self.console.is_terminal and is_main_process()):
            return
        self.bar = Progress(
            TextColumn('{task.description}'),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn('{task.fields[state]}', table_column=Column(no_wrap=True)),
            console=self.console,
            expand=True,
        )
        self.bar.start()
        atexit.register(self.bar.stop)  # after an error too, as the bar hides the cursor
        for handler in runner.logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(
                handler, logging.FileHandler
            ):
                handler.setStream(sys.stdout)  # replaced by the bar when it started
                handler.addFilter(lambda record: LINES_OF_PROGRESS not in record.getMessage())

    def after_run(self, runner: Runner) -> None:
        """End the bar."""
        if self.bar:
            self.bar.stop()

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | Sequence | None = None,
        mode: str = 'train',
    ) -> None:
        """Show the state after an iteration of training, validation or test."""
        if self.bar is None:
            return
        loader = getattr(runner, f'{mode}_dataloader')
        if mode == 'train':
            epochs, done, total = runner.max_epochs, runner.iter + 1, runner.max_iters
            epoch = f'epoch {runner.epoch + 1}/{epochs} ' if epochs > 1 else ''
            loss = runner.message_hub.get_scalar('train/loss').current()
            state = f'{epoch}iteration {done}/{total} loss {loss:.3g}'
        else:
            done, total = batch_idx + 1, len(loader)
            state = f'iteration {done}/{total}'
        seconds = runner.message_hub.get_scalar(f'{mode}/time').mean(10)
        speed = loader.batch_sampler.batch_size * get_world_size() / seconds
        left = timedelta(seconds=round(runner.message_hub.get_info('eta')))
        if mode not in self.tasks:
            self.tasks[mode] = self.bar.add_task(mode, state='')
        self.bar.update(
            self.tasks[mode],
            completed=done,
            total=total,
            state=f'{state} {speed:.1f} images/s {left} left',
        )
        if mode == 'val' and done == total:
            self.bar.remove_task(self.tasks.pop(mode))
