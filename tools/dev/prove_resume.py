#!/usr/bin/env python3
"""Kill a training, resume it and compare the weights: tools/dev/prove_resume.py --kills 30.

With --signals, it is asked to end: all its processes receive SIGTERM, SIGUSR1 or SIGINT.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from se_det.config_files import TOOLS
from tools._command_line import usage_errors_alone

if TYPE_CHECKING:
    import torch

CONFIG = 'configs/faster_rcnn_se_r50_shapes.py'
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
BEGUN = 'Device:'  # in the log, before the first iteration
ENDED = 'Results: '  # in the log, after all is saved
# A narrow detector and few images, validated after each epoch.
OPTIONS = [
    'model.backbone.base_channels=16',
    'model.neck.in_channels=[64,128,256,512]',
    'model.neck.out_channels=16',
    'model.rpn_head.in_channels=16',
    'model.rpn_head.feat_channels=16',
    'model.roi_head.bbox_roi_extractor.out_channels=16',
    'model.roi_head.bbox_head.in_channels=16',
    'model.roi_head.bbox_head.fc_out_channels=32',
    'train_dataloader.batch_size=2',
    'train_dataloader.dataset.num_images=24',
    'val_dataloader.dataset.num_images=4',
    'test_dataloader.dataset.num_images=4',
    'train_cfg.max_epochs=2',
    'default_hooks.checkpoint.max_keep_ckpts=2',
    'randomness.seed=0',
]
EVERY_ITERATION = [
    'default_hooks.checkpoint.by_epoch=False',
    'default_hooks.checkpoint.interval=1',
]


class Training:
    """A short training of drawn shapes.

    Args:
        folder: where its data, work directories and log are.
        ranks: how many processes train together.
        workers: how many load data for each of them.
        persistent: whether these stay from epoch to epoch.
        options: further options of the config.
    """

    def __init__(
        self, folder: Path, ranks: int, workers: int, persistent: bool, options: list[str]
    ) -> None:
        self.folder = folder
        self.by_torchrun = ranks > 1
        self.command = [sys.executable, str(TOOLS / 'train.py'), CONFIG]
        if self.by_torchrun:
            self.command = [str(TOOLS / 'dist_train.sh'), CONFIG, str(ranks)]
        self.options = ['--resume', '--cfg-options', *OPTIONS, *options]
        for split in ('train', 'val'):
            self.options.append(f'{split}_dataloader.num_workers={workers}')
            self.options.append(f'{split}_dataloader.persistent_workers={persistent}')
        (folder / 'data/shapes').mkdir(parents=True)

    def run(
        self,
        name: str,
        wait: float | None = None,
        in_save: bool = False,
        number: int = signal.SIGKILL,
    ) -> float | None:
        """Start or resume the training.

        Args:
            name: its work directory.
            wait: seconds from its beginning until all its processes receive a signal; None for
                no signal.
            in_save: after these, wait for the next time that it writes a checkpoint.
            number: the signal.

        Returns:
            How many seconds it took from its beginning, if it ended by itself.

        Raises:
            SystemExit: it ended with an error, a process was left behind, or the signal, other
                than SIGKILL, did not let it write a checkpoint.
        """
        log = self.folder / f'{name}.log'
        with log.open('wb') as output:
            process = subprocess.Popen(
                [*self.command, '--work-dir', name, *self.options],
                cwd=self.folder,
                env=dict(os.environ, PYTHON=sys.executable, PORT=str(free_port())),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            while process.poll() is None and BEGUN not in log.read_text():
                time.sleep(0.05)
            begun, job = time.monotonic(), []
            while process.poll() is None and not job and wait is not None:
                if time.monotonic() > begun + wait and (not in_save or self.is_saving(name)):
                    signalled, job = time.time(), kill(process.pid, number)
                time.sleep(0.001)
            status = process.wait()
        if ENDED in log.read_text():  # Python's own end takes a while, in which signals may come
            status = 0
        seconds = time.monotonic() - begun
        problem = ''
        if left := still_alive(job):
            problem = f'{left} are left behind.'
        elif status and not job:
            problem = 'The training failed.'
        elif status and number != signal.SIGKILL:
            if not any(p.stat().st_mtime > signalled for p in (self.folder / name).glob('*.pth')):
                problem = 'No checkpoint was written.'
            elif status != 128 + number and not self.by_torchrun:
                problem = 'It did not end as it was asked to.'
        if problem:
            sys.exit(f'{log.read_text()}\n{problem} Status {status}, signal {number}.')
        return seconds if status == 0 else None

    def is_saving(self, name: str) -> bool:
        """Whether a checkpoint is being written."""
        return any((self.folder / name).glob('.*.partial'))

    def weights(self, name: str) -> dict[str, 'torch.Tensor']:
        """The weights at the end of a training; its folder is removed."""
        from se_det.checkpoints.reading import read_checkpoint
        from se_det.engine.resume.checkpoint_files import latest_checkpoint

        checkpoint = latest_checkpoint(self.folder / name)
        weights = read_checkpoint(checkpoint)['state_dict']
        shutil.rmtree(self.folder / name)
        return weights


def main() -> None:
    """Parse the arguments, kill, resume, compare, and print the verdict."""
    parser = argparse.ArgumentParser(
        description='Kill a training of drawn shapes at random moments, every second time while '
        'it writes a checkpoint, and resume it. The exit status is 0 only if the weights at its '
        'end equal those of an uninterrupted training bit for bit, and no process is left behind.'
    )
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument(
        '--signals',
        action='store_true',
        help='SIGTERM, SIGUSR1 and SIGINT to all processes in place of SIGKILL: each time, a '
        'checkpoint has to be written',
    )
    parser.add_argument('--ranks', type=int, default=1, help='processes that train together')
    parser.add_argument('--workers', type=int, default=0, help='of each data loader')
    parser.add_argument(
        '--deterministic', action='store_true', help='deterministic algorithms, for a GPU'
    )
    parser.add_argument('--persistent', action='store_true', help='workers stay between epochs')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    kills = kills_in_saves = finished = 0
    differing = set()
    options = [] if arguments.signals else EVERY_ITERATION
    options = [*options, f'randomness.deterministic={arguments.deterministic}']
    with usage_errors_alone(), tempfile.TemporaryDirectory() as folder:
        training = Training(
            Path(folder),
            arguments.ranks,
            arguments.workers,
            arguments.persistent,
            options,
        )
        seconds = training.run('uninterrupted')
        expected = training.weights('uninterrupted')
        while kills < arguments.kills or not finished:
            in_save = kills % 2 == 1
            wait = moments.uniform(0, seconds) if kills < arguments.kills else None
            number = SIGNALS[kills % len(SIGNALS)] if arguments.signals else signal.SIGKILL
            if training.run('killed', wait, in_save, number) is None:
                kills += 1
                kills_in_saves += in_save
                continue
            finished += 1
            found = training.weights('killed')
            differing |= {key for key in expected if not expected[key].equal(found[key])}
    print(
        f'{kills} {"signals" if arguments.signals else "kills"}, {kills_in_saves} of them in a '
        f'save; {finished} trainings finished; {arguments.ranks} ranks, {arguments.workers} '
        f'workers: {len(differing)} of {len(expected)} tensors differ.'
    )
    sys.exit(1 if differing else 0)


def descendants(pid: int) -> list[int]:
    """A process and all that it started, also in other sessions, as torchrun does."""
    parents = {}
    for file in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):  # it has just ended
            parents[int(file.parent.name)] = int(file.read_text().rpartition(')')[2].split()[1])
    found = [pid]
    for parent in found:  # grows
        found += [child for child, of in parents.items() if of == parent]
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> list[int]:
    """Send a signal to a process and all that it started; returns these."""
    processes = descendants(pid)
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
    return processes


def still_alive(processes: list[int], seconds: float = 10) -> list[int]:
    """Those of the processes that have not ended after so many seconds."""
    deadline = time.monotonic() + seconds
    while processes and time.monotonic() < deadline:
        time.sleep(0.05)
        processes = [pid for pid in processes if not is_gone(pid)]
    return processes


def is_gone(pid: int) -> bool:
    """Whether a process has ended; its parent need not have read its exit status."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'
    except OSError:
        return True


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


if __name__ == '__main__':
    main()
