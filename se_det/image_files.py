"""Image files, decoded alike by the check of data, in training and in inference.

Of a file that is cut off, how much is missing. An exported detector reads files where neither
MMDetection nor OpenCV, or not Pillow, is installed: they are imported where they are needed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from se_det.errors import UsageError

if TYPE_CHECKING:
    from mmcv.transforms import LoadImageFromFile

if find_spec('cv2'):
    import cv2
else:
    cv2 = None
TAIL = 4096  # bytes at the end of a file that must hold the mark of its end
END_OF_JPEG = b'\xff\xd9'
END_MARKS = {b'\xff\xd8': END_OF_JPEG, b'\x89P': b'IEND\xaeB`\x82'}  # of JPEG and PNG
VISIBLE = 0.01  # of the picture, missing: more is visible damage

LACKS_END = f'the file lacks its end; less than {VISIBLE:.0%} of the picture is missing'


class Picture(NamedTuple):
    """A decoded image file.

    Attributes:
        pixels: as MMDetection loads it; None with a fault.
        fault: what is wrong with the file, without its name; empty if it is fine.
        note: what is wrong without visible damage.
    """

    pixels: np.ndarray | None
    fault: str = ''
    note: str = ''


class ImageFileError(Exception):
    """An image file that cannot be used; the message is what is wrong, without its name."""


def decode(content: bytes, color_type: str = 'color', backend: str | None = 'cv2') -> Picture:
    """Decode the content of an image file.

    Args:
        content: the bytes of the file.
        color_type: as in LoadImageFromFile.
        backend: its ``imdecode_backend``.
    """
    if not content:
        return Picture(None, 'is an empty file')
    has_end, is_jpeg = ends_with_mark(content), content[:2] == b'\xff\xd8'
    if has_end and (pixels := _decode(content, color_type, backend)) is not None:
        return Picture(pixels)
    if is_jpeg:
        missing = _missing_of_jpeg(content)
        is_there = missing < VISIBLE
    else:
        missing = _missing_lines(content)
        is_there = not missing and not has_end
    if not is_there:
        return Picture(None, _damage(missing, has_end, content))
    whole = (content + END_OF_JPEG, backend) if is_jpeg else (content, 'pillow')
    with _truncated_images():
        pixels = _decode(whole[0], color_type, whole[1])
    return Picture(pixels, 'cannot be decoded' if pixels is None else '', LACKS_END)


def decode_file(
    path: str | Path, color_type: str = 'color', backend: str | None = 'cv2'
) -> Picture:
    """Decode an image file, as `decode`; that it cannot be read is a fault, too."""
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        return Picture(None, f'cannot be read: {getattr(error, "strerror", None) or error}')
    return decode(content, color_type, backend)


def read_image(path: str | Path, gray: bool = False) -> np.ndarray:
    """Read an image file: (H, W, 3) uint8 in BGR, or (H, W) with ``gray``.

    Raises:
        UsageError: it cannot be read, or neither OpenCV nor Pillow is installed.
    """
    if not (cv2 or find_spec('PIL')):
        raise UsageError('To read image files, type: pip install opencv-python-headless')
    path = Path(path).expanduser()
    picture = decode_file(path, 'grayscale' if gray else 'color')
    if picture.fault:
        raise UsageError(f'{path} {picture.fault}. Check the file.')
    return picture.pixels


def load_image(load: LoadImageFromFile, results: dict) -> dict:
    """Load an image as a pipeline does, also one that lacks its end without visible damage.

    Args:
        load: the transform.
        results: what it takes.

    Returns:
        What it returns.

    Raises:
        ImageFileError: the image cannot be read, or is visibly damaged.
    """
    from mmengine import fileio

    path = results.get('img_path')
    try:
        loaded = load(results)
        if loaded is not None and file_ends_with_mark(path):
            return loaded
        reason = 'cannot be decoded'
    except OSError as error:
        raise ImageFileError(f'cannot be read: {error.strerror or error}') from error
    except Exception as error:  # any decoder and any storage backend
        reason = f'cannot be decoded: {type(error).__name__}: {error}'
    try:
        content = fileio.get(path, backend_args=load.backend_args)
    except Exception as error:
        raise ImageFileError(reason) from error
    picture = decode(content, load.color_type, load.imdecode_backend)
    if picture.fault:
        raise ImageFileError(picture.fault)
    return set_image(load, results, picture.pixels)


def set_image(load: LoadImageFromFile, results: dict, pixels: np.ndarray) -> dict:
    """Set the image of results to pixels, with the keys that a loading transform sets."""
    from mmdet.datasets.transforms import LoadImageFromNDArray

    path = results.get('img_path')
    loaded = LoadImageFromNDArray(to_float32=load.to_float32)(dict(results, img=pixels))
    return dict(loaded, img_path=path)


def ends_with_mark(content: bytes) -> bool:
    """Whether a JPEG or PNG file has the mark of its end; other formats pass."""
    mark = END_MARKS.get(content[:2])
    return mark is None or mark in content[-TAIL:]


def file_ends_with_mark(path: Any) -> bool:
    """As `ends_with_mark`, reading the ends of the file alone; files elsewhere pass."""
    try:
        with open(path, 'rb') as file:
            first = file.read(2)
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            return ends_with_mark(first + file.read())
    except (OSError, TypeError, ValueError):
        return True


def _damage(missing: float, has_end: bool, content: bytes) -> str:
    share = f': {missing:.0%} of the picture is missing' if missing >= VISIBLE else ''
    if not has_end:
        return 'is cut off' + share
    try:
        from PIL import Image

        Image.open(io.BytesIO(content)).close()
    except Exception:  # decoders raise what they like on damaged files
        return 'is not an image'
    return 'cannot be decoded' + (share if missing < 1 else '')


def _decode(content: bytes, color_type: str, backend: str | None) -> np.ndarray | None:
    try:
        if backend == 'cv2' and color_type in ('color', 'grayscale'):
            return _decode_upright(content, color_type == 'grayscale')
        import mmcv

        return mmcv.imfrombytes(content, color_type, backend=backend)
    except Exception:  # decoders raise what they like on damaged files
        return None


def _decode_upright(content: bytes, gray: bool) -> np.ndarray | None:
    if cv2:
        flag = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR
        return cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert('L' if gray else 'RGB'))
    return upright if gray else np.ascontiguousarray(upright[..., ::-1])


def _missing_of_jpeg(content: bytes) -> float:
    """The share of pixels that depend on what would follow: zeros or noise."""
    first = _decode(content + END_OF_JPEG, 'color', 'cv2')
    if first is None:
        return 1
    noise = np.random.default_rng(0).integers(0, 255, 2 * first.size, np.uint8).tobytes()
    second = _decode(content + noise + END_OF_JPEG, 'color', 'cv2')
    return 1 if second is None else float((first != second).any(-1).mean())


def _missing_lines(content: bytes) -> float:
    """The share of lines that Pillow leaves at zero, above or below all others."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return 0
    except Exception:  # decoders raise what they like on damaged files
        pass
    try:
        with _truncated_images(), Image.open(io.BytesIO(content)) as image:
            lines = np.asarray(image).reshape(image.height, -1).any(1).nonzero()[0]
            return 1 - (lines[-1] - lines[0] + 1) / image.height if len(lines) else 1
    except Exception:
        return 1


@contextmanager
def _truncated_images() -> Iterator[None]:
    """Let Pillow decode what is there of a file."""
    from PIL import ImageFile

    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
