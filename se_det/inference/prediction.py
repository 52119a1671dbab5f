"""Predict on files: images in, COCO results and pictures out."""

import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from se_det.errors import Interrupted, UsageError
from se_det.inference.detector import Detector
from se_det.inference.inputs import InputFile, find_inputs, video_facts, video_frames
from se_det.inference.picture_files import PictureFiles
from se_det.inference.prediction_files import Ids, PredictionFiles

SECONDS_BETWEEN_LINES = 10  # of progress where there is no terminal


@dataclass
class Prediction:
    """What `predict` has done.

    Attributes:
        out: the folder of the results.
        images: how many images and frames were predicted on.
        detections: how many were written.
        unreadable: how many files could not be read.
    """

    out: Path
    images: int = 0
    detections: int = 0
    unreadable: int = 0


# An image, or a frame of a video, and what images.json says of it beside its size.
_Frame = tuple[InputFile, np.ndarray, dict]


def predict(
    cfg: Config,
    checkpoint: str,
    inputs: Sequence[str],
    *,
    out: str | Path,
    score: float = 0.3,
    classes: Sequence[str] | None = None,
    device: str | None = None,
    batch: int = 1,
    pictures: bool = True,
    ann: str | None = None,
) -> Prediction:
    """Detect objects in files, and write the results and pictures of them.

    A file that cannot be read is named on standard error and left out. Images are read while they
    are needed: neither a folder nor a video is held in memory.

    Args:
        cfg: of the detector.
        checkpoint: path or URL of its weights.
        inputs: as for `se_det.inference.inputs.find_inputs`.
        out: the folder to write to, see `se_det.inference.prediction_files.PredictionFiles`; below
            it, ``pictures/``.
        score: the lowest score to write and draw.
        classes: the classes to write and draw; None: all.
        device: as for `Detector`.
        batch: as for `Detector.stream`.
        pictures: draw; JPEG for an image, MP4 for a video.
        ann: an annotation file to take the ids of images and categories from.

    Raises:
        UsageError: an argument cannot be used, or a result cannot be written.
        Interrupted: by Ctrl-C; what was found until then is written.
    """
    files = find_inputs(inputs)
    detector = Detector(checkpoint, cfg, device)
    ids = Ids(detector.classes, [file.name for file in files], ann)
    done = Prediction(Path(out))
    total = sum(video_facts(file.path)[1] if file.is_video else 1 for file in files)
    waiting: deque[_Frame] = deque()
    with ExitStack() as stack:
        progress = stack.enter_context(_Progress(total))

        def samples() -> Iterator[dict]:
            for frame, sample in _frames(files, detector, done, progress):
                waiting.append(frame)
                yield sample

        stream = detector.stream_prepared(samples(), score, classes, batch)
        results = stack.enter_context(PredictionFiles(done.out, ids))
        picture_files = stack.enter_context(closing(PictureFiles(done.out / 'pictures')))
        try:
            for found in stream:
                file, pixels, facts = waiting.popleft()
                results.add(file.name, pixels, found, **facts)
                if pictures:
                    picture_files.add(file, pixels, found)
                done.images += 1
                done.detections += len(found)
                progress.show(done.images + done.unreadable)
        except KeyboardInterrupt:
            raise Interrupted(
                f'Stopped by Ctrl-C after {done.images} of {total} images; their results are in '
                f'{done.out}.',
                signal.SIGINT,
            ) from None
    return done


def _frames(
    files: Sequence[InputFile], detector: Detector, done: Prediction, progress: '_Progress'
) -> Iterator[tuple[_Frame, dict]]:
    """Read and prepare the files one after the other; name those that fail."""
    for file in files:
        try:
            if file.is_video:
                for index, pixels in enumerate(video_frames(file.path)):
                    yield (file, pixels, dict(frame=index)), detector.prepare(pixels)
            else:
                pixels = detector.read(file.path)
                yield (file, pixels, {}), detector.prepare(pixels)
        except UsageError as error:
            done.unreadable += 1
            message = str(error)
            progress.say(message if str(file.path) in message else f'{file.path}: {message}')


class _Progress(Progress):
    """A bar on standard error if it is a terminal, else a line now and then."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        super().__init__(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn('images {task.fields[speed]}'),
            TimeRemainingColumn(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._total = total
        self._bar = self.add_task('', total=total, speed='')
        self._begun = self._said = time.monotonic()

    def show(self, done: int) -> None:
        now = time.monotonic()
        speed = f'{done / (now - self._begun):.1f} images/s'
        self.update(self._bar, completed=done, total=max(done, self._total), speed=speed)
        if self.disable and now - self._said > SECONDS_BETWEEN_LINES:
            self._said = now
            self.say(f'{done} of {self._total} images, {speed}')

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
