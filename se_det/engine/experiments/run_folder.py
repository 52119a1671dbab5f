"""One run of an experiment: a folder, and a process that trains in it."""

import fcntl
import json
import math
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from mmengine.config import Config

from se_det.engine.experiments.result_hook import DETECTIONS, RESULT
from se_det.engine.resume.checkpoint_files import latest_checkpoint
from se_det.errors import UsageError
from se_det.files import write_whole

AP = 'coco/bbox_mAP'
CHECKPOINT = 'checkpoint.pth'
CONFIG = 'CONFIG'
LOCK = 'lock'
OUTPUT = 'output.txt'
PROGRESS = re.compile(
    r'(?:Epoch|Iter)\(train\)\s+(?:\[\s*(?P<epoch>\d+)\])?\[\s*(?P<step>\d+)/(?P<steps>\d+)\]'
    r'.*? eta: (?:(?P<days>\d+) days?, )?(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)'
)


class State(Enum):
    """The state of a run."""

    WAITING = 'waiting'
    RUNNING = 'running'
    FINISHED = 'finished'
    FAILED = 'failed'


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        text: epoch and iteration, as in the log.
        seconds_left: how long the rest of the training takes.
    """

    text: str
    seconds_left: float


class Run:
    """One arm with one seed.

    Beside its folder is its config, ``<folder>.py``, which ``tools/train.py`` trains. In the folder
    are ``output.txt``, mmengine's log and scalars, and in the end ``detections.bbox.json`` and
    ``result.json``.

    Args:
        arm: the arm's name.
        seed: the seed.
        folder: where the run's files are.
        cfg: the run's config.
    """

    def __init__(self, arm: str, seed: int, folder: Path, cfg: Config) -> None:
        self.arm = arm
        self.seed = seed
        self.folder = folder
        self.cfg = cfg
        self.config = folder.with_suffix('.py')
        self.process: subprocess.Popen | None = None

    def __str__(self) -> str:
        return f'{self.arm}, seed {self.seed}'

    @property
    def state(self) -> State:
        """The present state of the run."""
        if self.process:
            self.process.poll()  # so that an ended process is no zombie
        if self._is_locked():
            return State.RUNNING
        if (self.folder / RESULT).is_file():
            return State.FINISHED
        return State.FAILED if self.process else State.WAITING

    @property
    def slot(self) -> int:
        """The slot of the experiment runner in which the process runs."""
        return int((self.folder / LOCK).read_text() or 0)

    def _is_locked(self) -> bool:
        """Whether a process trains here, also one that a killed experiment runner started."""
        if not (self.folder / LOCK).exists():
            return False
        with (self.folder / LOCK).open() as lock:
            return not _take(lock)

    @cached_property
    def result(self) -> dict[str, Any]:
        """Metrics, iterations and seconds of the finished run.

        Raises:
            UsageError: the file is cut off, or lacks COCO's AP of boxes or the seconds.
        """
        path = self.folder / RESULT
        try:
            result = json.loads(path.read_bytes())
            math.isnan(result['metrics'][AP]), math.isnan(result['seconds'])  # they are numbers
        except (KeyError, OSError, OverflowError, TypeError, ValueError) as error:
            raise UsageError(
                f'{path} is not the whole result of a run: expected its seconds, and {AP} in its '
                f'metrics. Delete {self.folder} to train it anew.'
            ) from error
        return result

    @property
    def detections(self) -> Path:
        """The finished run's result file in COCO's format."""
        return self.folder / f'{DETECTIONS}.bbox.json'

    @property
    def checkpoint(self) -> Path:
        """The finished run's last checkpoint, where it was kept."""
        return self.folder / CHECKPOINT

    def progress(self) -> Progress | None:
        """The progress of the run, from the last line of its log that has it."""
        try:
            with (self.folder / OUTPUT).open('rb') as output:
                output.seek(max(0, output.seek(0, 2) - 20_000))
                matches = list(PROGRESS.finditer(output.read().decode(errors='ignore')))
        except FileNotFoundError:
            return None
        if not matches:
            return None
        found = matches[-1]
        epoch = f'epoch {found["epoch"]}, ' if found['epoch'] else ''
        hours = 24 * int(found['days'] or 0) + int(found['hours'])
        seconds = 3600 * hours + 60 * int(found['minutes']) + int(found['seconds'])
        return Progress(f'{epoch}{found["step"]}/{found["steps"]}', seconds)

    def start(self, command: Sequence[str], environment: Mapping[str, str], slot: int) -> None:
        """Start a process that trains, or resumes, unless there is one.

        The process holds a lock on the folder. So an experiment runner that starts after another
        was killed knows which processes are still training.

        Args:
            command: the training command; ``CONFIG`` in it is replaced by the config and
                ``--work-dir``.
            environment: the process's environment.
            slot: which of the experiment runner's slots it has.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open('a') as lock:
            if not _take(lock):
                return
            lock.truncate(0)
            lock.write(str(slot))
            lock.flush()
            write_whole(self.config, self.cfg.pretty_text.encode())
            here = [str(self.config), '--work-dir', str(self.folder), '--resume']
            command = [part for word in command for part in (here if word == CONFIG else [word])]
            with (self.folder / OUTPUT).open('ab') as output:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=[lock.fileno()],
                )

    def stop(self) -> None:
        """Tell the process that was started here to end."""
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def wait(self) -> None:
        """Wait until the process that was started here has ended."""
        if self.process:
            self.process.wait()

    def check(self) -> None:
        """Check what is in the folder.

        Raises:
            UsageError: it was made with another config than the plan has for this run, or its
                config is not there, or its result is not whole.
        """
        has_begun = self.state is not State.WAITING or any(self.folder.glob('*.pth'))
        config = self.config.read_text(errors='replace') if self.config.is_file() else None
        if has_begun and config != self.cfg.pretty_text:
            raise UsageError(
                f'{self.folder} has a run with another config than the plan has now, or its config '
                f'{self.config} is not there. Delete that folder to train it anew, or choose '
                'another --work-dir.'
            )
        if self.state is State.FINISHED:
            self.result  # noqa: B018  (raises)

    def tidy(self, keep_checkpoint: bool) -> None:
        """Remove the checkpoints of the finished run, except the last one if it is needed."""
        wanted = keep_checkpoint and not self.checkpoint.exists()
        if wanted and (latest := latest_checkpoint(self.folder)):
            latest.rename(self.checkpoint)
        for checkpoint in {*self.folder.glob('*.pth')} - {self.checkpoint}:
            checkpoint.unlink()
        (self.folder / 'last_checkpoint').unlink(missing_ok=True)


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
