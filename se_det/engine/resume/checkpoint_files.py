"""Checkpoints on disk: written whole or not at all, and found again."""

import contextlib
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner

from se_det.checkpoints.reading import read_checkpoint
from se_det.errors import UsageError
from se_det.files import write_whole

INTERRUPTED = 'interrupted.pth'


@register_backend('whole_files')
class WholeFilesBackend(LocalBackend):
    """mmengine's local files, but a file is written whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Args:
            obj: its content.
            filepath: where to write it.

        Raises:
            UsageError: it cannot be written. A file that was there stays as it was.
        """
        try:
            write_whole(filepath, bytes(obj))
        except UsageError as error:
            kept = sorted(path.name for path in Path(filepath).parent.glob('*.pth'))
            raise UsageError(
                f'{error} These checkpoints are whole: {", ".join(kept) or "none"}. Make room or '
                'choose another --work-dir, then type the same command with --resume.'
            ) from error


class _LateRemoval(LocalBackend):
    """Removes files in `remove_outdated`, after the new ones have been written."""

    def __init__(self) -> None:
        super().__init__()
        self.outdated: set[str] = set()

    def remove(self, filepath: str | Path) -> None:
        self.outdated.add(str(filepath))

    def remove_outdated(self, *needed: str | None) -> None:
        for path in self.outdated - {*needed}:
            Path(path).unlink(missing_ok=True)
        self.outdated.clear()


class WholeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook; at no moment are there fewer whole checkpoints than it keeps.

    A checkpoint is written to a temporary file and renamed, the pointer to the latest is written
    after it, and the one that it replaces is removed last.

    Args:
        **kwargs: as for CheckpointHook.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        is_local = '://' not in str(self.out_dir or '')
        if is_local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend='whole_files')

    def before_train(self, runner: Runner) -> None:
        """Find the folder of the checkpoints."""
        super().before_train(runner)
        if isinstance(self.file_backend, WholeFilesBackend):
            self.file_backend = _LateRemoval()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with self._older_removed_last():
            super()._save_checkpoint_with_step(runner, step, meta)
            if is_main_process() and isinstance(self.file_backend, _LateRemoval):
                self.file_backend.remove(Path(self.out_dir, INTERRUPTED))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self._older_removed_last():
            super()._save_best_checkpoint(runner, metrics)

    @contextlib.contextmanager
    def _older_removed_last(self) -> Iterator[None]:
        yield
        if isinstance(self.file_backend, _LateRemoval):
            best = [getattr(self, 'best_ckpt_path', None)]
            best += getattr(self, 'best_ckpt_path_dict', {}).values()
            self.file_backend.remove_outdated(self.last_ckpt, *best)


def save_interrupted(runner: Runner, iteration: int) -> None:
    """Save the state after an iteration, beside the checkpoints of CheckpointHook."""
    runner.save_checkpoint(
        runner.work_dir,
        INTERRUPTED,
        meta=dict(epoch=runner.epoch, iter=iteration),
        backend_args=dict(backend='whole_files'),
    )


def latest_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint in a folder to resume from: the latest that is whole.

    Args:
        folder: the work directory. Its files are read; ``last_checkpoint`` is not, so that the
            folder may be moved or copied.

    Returns:
        The file; None if there is no checkpoint.

    Raises:
        UsageError: there are checkpoints, and none of them is whole.
    """
    damaged = []
    progress = {}
    for path in Path(folder).glob('*.pth'):
        try:
            checkpoint = read_checkpoint(path, mmap=True)
        except UsageError as error:
            damaged.append(str(error))
            continue
        if is_resumable(checkpoint):
            meta = checkpoint['meta']
            progress[path] = ('optimizer' in checkpoint, meta['iter'], meta['epoch'])
    for path in sorted(progress, key=progress.get, reverse=True):
        if _has_right_checksums(path):
            found = path
            break
        damaged.append(f'{path} is damaged: a checksum differs.')
    else:
        found = None
    if damaged and found is None:
        problems = '\n'.join(damaged)
        raise UsageError(
            f'{folder} has no checkpoint to resume from:\n{problems}\n'
            'Remove these files to start from the beginning, or give another: --resume FILE.'
        )
    for problem in damaged:
        print_log(f'Not used: {problem}', logger='current', level=logging.WARNING)
    return found


def is_resumable(checkpoint: dict) -> bool:
    """Whether a checkpoint has the state of a run; published and converted files do not."""
    meta = checkpoint.get('meta')
    return isinstance(meta, dict) and {'epoch', 'iter'} <= set(meta) and 'message_hub' in checkpoint


def _has_right_checksums(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return True  # the format of torch before 1.6 has none
    with zipfile.ZipFile(path) as file:
        return file.testzip() is None
