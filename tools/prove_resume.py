#!/usr/bin/env python3
"""Kill a training, resume it and compare the weights: tools/prove_resume.py --kills 30."""

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

from se_det import TOOLS
from se_det.command_line import usage_errors_alone

if TYPE_CHECKING:
    import torch

CONFIG = 'configs/faster_rcnn_se_r50_shapes.py'
# A narrow detector and few images; checkpoints within epochs, validation after each.
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
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'train_cfg.max_epochs=2',
    'default_hooks.checkpoint.by_epoch=False',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.checkpoint.max_keep_ckpts=2',
    'randomness.seed=0',
]


class Training:
    """A short training of drawn shapes.

    Args:
        folder: where its data, work directories and log are.
        ranks: how many processes train together.
        workers: how many load data for each of them.
    """

    def __init__(self, folder: Path, ranks: int, workers: int) -> None:
        self.folder = folder
        tool = [sys.executable, TOOLS / 'train.py']
        if ranks > 1:
            tool = [TOOLS / 'dist_train.sh']
        self.command = [*map(str, tool), CONFIG, *([str(ranks)] if ranks > 1 else [])]
        self.options = ['--resume', '--cfg-options', *OPTIONS]
        self.options.append(f'train_dataloader.num_workers={workers}')
        self.options.append(f'train_dataloader.persistent_workers={workers > 0}')
        (folder / 'data/shapes').mkdir(parents=True)

    def run(self, name: str, kill_after: float | None = None, in_save: bool = False) -> bool:
        """Start or resume the training.

        Args:
            name: its work directory.
            kill_after: kill all its processes after so many seconds.
            in_save: after these, wait for the next time that it writes a checkpoint.

        Returns:
            Whether it ended by itself.

        Raises:
            SystemExit: it ended with an error.
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
            if kill_after is not None:
                deadline = time.monotonic() + kill_after
                while process.poll() is None and (
                    time.monotonic() < deadline or (in_save and not self.is_saving(name))
                ):
                    time.sleep(0.001)
                if process.poll() is None:
                    kill(process.pid)
            status = process.wait()
        if status not in (0, -signal.SIGKILL):
            sys.exit(f'{log.read_text()}\nThe training failed: status {status}.')
        return status == 0

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
        'end equal those of an uninterrupted training bit for bit.'
    )
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--ranks', type=int, default=1, help='processes that train together')
    parser.add_argument('--workers', type=int, default=0, help='of the data loader')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    kills = kills_in_saves = finished = 0
    differing = set()
    with usage_errors_alone(), tempfile.TemporaryDirectory() as folder:
        training = Training(Path(folder), arguments.ranks, arguments.workers)
        started = time.monotonic()
        training.run('uninterrupted')
        seconds = time.monotonic() - started
        expected = training.weights('uninterrupted')
        while kills < arguments.kills or not finished:
            in_save = kills % 2 == 1
            wait = moments.uniform(0, seconds) if kills < arguments.kills else None
            if not training.run('killed', wait, in_save):
                kills += 1
                kills_in_saves += in_save
                continue
            finished += 1
            found = training.weights('killed')
            differing |= {key for key in expected if not expected[key].equal(found[key])}
    print(
        f'{kills} kills, {kills_in_saves} of them in a save; {finished} trainings finished; '
        f'{arguments.ranks} ranks, {arguments.workers} workers: {len(differing)} of '
        f'{len(expected)} tensors differ.'
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


def kill(pid: int) -> None:
    """Kill a process and all that it started (SIGKILL)."""
    for process in descendants(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


if __name__ == '__main__':
    main()
