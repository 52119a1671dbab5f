"""What to predict on: from the arguments of a command to image files and videos."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from se_det.errors import UsageError

IMAGE_EXTENSIONS = ('.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEO_EXTENSIONS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')


@dataclass(frozen=True)
class InputFile:
    """An image or a video.

    Attributes:
        path: where it is.
        name: its path below the folder that holds all inputs, with slashes.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether it is read as a video, by the ending of its name."""
        return self.path.suffix.lower() in VIDEO_EXTENSIONS


def find_inputs(inputs: Sequence[str]) -> list[InputFile]:
    """Find the files that inputs name, each once, in order; those of a folder or pattern sorted.

    Args:
        inputs: files, folders, and patterns such as ``'frames/*.png'``. Of a folder, the images
            and videos in it and in the folders below, those whose name begins with a dot left out.

    Raises:
        UsageError: an input does not exist, or there is no image in it.
    """
    files, folders = {}, []
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            found = _files_below(path)
            folders.append(path)
        elif path.exists():
            found = [path]
        else:
            found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
            found = [match for match in found if match.is_file()]
        if not found:
            raise UsageError(
                f'There is no image or video at {text}. Give an image, a folder of images, a '
                'pattern in quotes or a video.'
            )
        files.update(dict.fromkeys(Path(os.path.abspath(file)) for file in found))
        folders += [] if path.is_dir() else [file.parent for file in found]
    root = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    return [InputFile(file, file.relative_to(root).as_posix()) for file in files]


def video_frames(path: Path) -> Iterator[np.ndarray]:
    """Decode a video, frame by frame: (H, W, 3) uint8 in BGR.

    Raises:
        UsageError: it has no frame that OpenCV can decode.
    """
    video = cv2.VideoCapture(str(path))
    try:
        is_read, frame = video.read()
        if not is_read:
            raise UsageError(f'{path} has no frame that OpenCV can decode. Is it a whole video?')
        while is_read:
            yield frame
            is_read, frame = video.read()
    finally:
        video.release()


def video_facts(path: Path) -> tuple[float, int]:
    """Frames per second of a video, 25 if it does not say, and how many it says to have."""
    video = cv2.VideoCapture(str(path))
    rate, count = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    video.release()
    return rate if 0 < rate < 1000 else 25.0, max(0, int(count))


def _files_below(folder: Path) -> list[Path]:
    """Images and videos by their ending, or images by their content."""
    files = [file for file in folder.rglob('*') if file.is_file() and file.name[0] != '.']
    known = (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS)
    found = [f for f in files if f.suffix.lower() in known or cv2.haveImageReader(str(f))]
    if others := sorted({*files} - {*found}):
        print(
            f'Left out, as neither images nor videos: {len(others)} of {len(files)} files in '
            f'{folder}, first {others[0]}',
            file=sys.stderr,
        )
    return sorted(found)
