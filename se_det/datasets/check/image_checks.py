"""Image files: there, whole, decodable, and of the size that the annotations say."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from PIL import Image

from se_det.image_files import decode_file, file_ends_with_mark

ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 are turned by 90 degrees
AS_STORED = ('unchanged', 'color_ignore_orientation', 'grayscale_ignore_orientation')


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


def found_elsewhere(folder: Path, file_names: Iterable[str], all_names: Iterable[str]) -> dict:
    r"""Files that are not at their name, by the last part of it if only one file has that.

    Args:
        folder: the folder of images.
        file_names: those that are not there, such as ``'C:\images\a.png'``.
        all_names: the names of all images.

    Returns:
        Paths below the folder, by name.
    """
    files, wanted = defaultdict(list), defaultdict(set)
    for parent, _, names in os.walk(folder):
        for name in names:
            files[name].append(os.path.relpath(os.path.join(parent, name), folder))
    for name in all_names:
        wanted[last_part(name)].add(name)
    return {
        name: Path(files[part][0]).as_posix()
        for name in file_names
        for part in [last_part(name)]
        if len(files.get(part, ())) == 1 and len(wanted[part]) == 1
    }


def misplaced(file_name: str, path: str, folder: Path) -> str:
    """What is wrong with the name of a file that is elsewhere."""
    return (
        f'file_name must be a path below {folder} with forward slashes: '
        f'found {file_name!r}, expected {path!r}'
    )


def last_part(file_name: str) -> str:
    """The last part of a path, a path of Windows, or a URL."""
    return unquote(re.split(r'[/\\]', file_name)[-1])


def image_fault(
    path: str | os.PathLike, width: int, height: int, decoder: tuple = ('color', 'cv2')
) -> str | None:
    """What is wrong with an image file. It is decoded if its first and last bytes are not fine.

    Args:
        path: the file.
        width: the width in the annotations.
        height: the height there.
        decoder: ``color_type`` and ``imdecode_backend`` of the config.

    Returns:
        A sentence without the file's name, or None.
    """
    with suppress(Exception), Image.open(path) as image:  # decoders raise what they like
        is_turned = _is_turned(image) and decoder[0] not in AS_STORED
        size = image.size[::-1] if is_turned else image.size
        if size == (width, height) and file_ends_with_mark(path):
            return None
    picture = decode_file(path, *decoder)
    if picture.fault:
        return picture.fault
    found = picture.pixels.shape[1::-1]
    if found == (width, height):
        return None
    swapped = ' (OpenCV turns images as their EXIF data say)' if found == (height, width) else ''
    return f'is {found[0]}x{found[1]}; the annotations say {width}x{height}{swapped}'


def turned_by_exif(path: str | os.PathLike) -> bool:
    """Whether decoders turn an image by 90 degrees, as its EXIF data say."""
    with suppress(Exception), Image.open(path) as image:
        return _is_turned(image)
    return False


def _is_turned(image: Image.Image) -> bool:
    return image.format in ('JPEG', 'MPO') and image.getexif().get(ORIENTATION, 1) > 4
