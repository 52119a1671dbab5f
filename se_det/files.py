"""Files are written whole or not at all, and only where that loses nothing."""

import contextlib
import json
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from se_det.errors import UsageError


def write_whole(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file under another name, flush it to the disk and rename it.

    Links are followed; a file that was there keeps its owner and its permissions. What is no
    regular file, such as a pipe or standard output, is written into: nothing is renamed over it.

    Args:
        path: the file; its folder is made.
        content: what to write.

    Raises:
        UsageError: it cannot be written. A file that was there stays as it was.
    """
    try:
        _write(Path(path), content)
    except OSError as error:
        raise UsageError(f'{path} cannot be written: {error.strerror}.') from error


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, whole or not at all.

    Args:
        path: the file; its folder is made.
        value: what ``json.dump`` takes.

    Raises:
        UsageError: the file cannot be written.
    """
    write_whole(path, json.dumps(value, indent=1, allow_nan=False).encode())


def check_output(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Check, before what takes long, that a file can be written.

    Args:
        path: the file.
        inputs: files that are read, which it must not replace.

    Raises:
        UsageError: it is one of the inputs or a folder, or its folder cannot be made or written.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f'{path} is a folder. Give the name of a file to write.')
    for file in inputs:
        if path.exists() and os.path.exists(file) and path.samefile(file):
            raise UsageError(f'{path} is read, and would be overwritten. Write another file.')
    check_folder(path.absolute().parent)


def check_folder(path: str | Path) -> None:
    """Check that a folder can be written to, or made.

    Raises:
        UsageError: it, or a folder above it, is a file or may not be written to.
    """
    above = Path(path)
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        raise UsageError(f'{above} is a file; {path} must be a folder. Choose another.')
    if not os.access(above, os.W_OK):
        raise UsageError(f'{above} is not writable. Choose another folder than {path}.')


def _write(path: Path, content: bytes | memoryview) -> None:
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    printed_to = old and _printed_to(old)
    if old and (printed_to or not stat.S_ISREG(old.st_mode)):
        sys.stdout.flush()
        with open(printed_to or path, 'ab', 0, closefd=not printed_to) as stream:
            rest = memoryview(content)
            while rest:
                rest = rest[stream.write(rest) :]
        return
    path = Path(os.path.realpath(path))
    if old:
        path.open('r+b').close()  # refused where the file may not be written
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        with partial.open('wb') as file:
            file.write(content)
            file.flush()
            if old:
                if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # some file systems cannot flush a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _printed_to(file: os.stat_result) -> int | None:
    """The descriptor of standard output or standard error, if it is this file."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # closed
            if os.path.samestat(file, os.fstat(descriptor)):
                return descriptor
    return None
