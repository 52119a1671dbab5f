"""Image files: there, whole, decodable, and of the size that the annotations say."""

import io
import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

TAIL = 4096  # bytes at the end of a file that must hold the mark of its end

ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 are turned by 90 degrees

END_MARKS = {b'\xff\xd8': b'\xff\xd9', b'\x89P': b'IEND'}  # of JPEG and PNG, by their first bytes


def missing_images(folder: Path, file_names: Iterable[str]) -> list[str]:
    """The files that are not there. Each folder is listed once, as that is quicker."""
    by_folder = defaultdict(list)
    for file_name in file_names:
        parent, _, name = file_name.rpartition('/')
        by_folder[parent].append((name, file_name))
    missing = []
    for parent, names in by_folder.items():
        listed = set()
        with suppress(OSError):
            listed = set(os.listdir(os.path.join(folder, parent)))
        for name, file_name in names:
            if name not in listed and not os.path.isfile(os.path.join(folder, file_name)):
                missing.append(file_name)
    return missing


def header_fault(path: str | os.PathLike, width: int, height: int) -> str | None:
    """What is wrong with an image file as far as its first bytes show it.

    Args:
        path: the file.
        width: the width in the annotations.
        height: the height there.

    Returns:
        A sentence without the file's name, or None.
    """
    try:
        if os.path.getsize(path) == 0:
            return 'is an empty file'
        with Image.open(path) as image:
            size = image.size
            if image.format in ('JPEG', 'MPO') and image.getexif().get(ORIENTATION, 1) > 4:
                size = size[::-1]  # OpenCV turns the image
    except OSError as error:
        return f'does not exist: {error.strerror}' if error.errno else 'is not an image'
    except Exception as error:  # decoders raise what they like on damaged files
        return f'is not an image ({type(error).__name__})'
    if size == (width, height):
        return None
    return image_fault(path, width, height)


def image_fault(
    path: str | os.PathLike, width: int | None = None, height: int | None = None
) -> str | None:
    """What is wrong with an image file, all of it decoded.

    Args:
        path: the file.
        width: the width in the annotations, if it must be that.
        height: the height there.

    Returns:
        A sentence without the file's name, or None.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return f'cannot be read: {error.strerror}'
    size = decoded_size(content)
    if isinstance(size, str):
        return size
    if width is not None and size != (width, height):
        swapped = ' (OpenCV turns images as their EXIF data say)' if size == (height, width) else ''
        return f'is {size[0]}x{size[1]}; the annotations say {width}x{height}{swapped}'
    return None


def decoded_size(content: bytes) -> tuple[int, int] | str:
    """Width and height after decoding as in training, or what is wrong with the image."""
    if not content:
        return 'is an empty file'
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pixels = None
    if pixels is None:
        return 'cannot be decoded' if ends_with_mark(content) else 'is cut off'
    if not ends_with_mark(content) and not decodes_strictly(io.BytesIO(content)):
        return 'is cut off'
    return pixels.shape[1], pixels.shape[0]


def ends_with_mark(content: bytes) -> bool:
    """Whether a JPEG or PNG file has the mark of its end; other formats pass."""
    mark = END_MARKS.get(content[:2])
    return mark is None or mark in content[-TAIL:]


def ends_with_mark_of_file(path: str | os.PathLike) -> bool:
    """As `ends_with_mark`, reading the ends of the file alone; files elsewhere pass."""
    try:
        with open(path, 'rb') as file:
            first = file.read(2)
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            return ends_with_mark(first + file.read())
    except (OSError, TypeError, ValueError):
        return True


def decodes_strictly(image_file: str | os.PathLike | io.BytesIO) -> bool:
    """Whether Pillow decodes all of an image; OpenCV may fill up what is missing."""
    try:
        with Image.open(image_file) as image:
            image.load()
    except Exception:  # decoders raise what they like on damaged files
        return False
    return True
