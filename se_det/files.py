"""Files that are whole or not there."""

import contextlib
import os
from pathlib import Path


def write_whole(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file under another name, flush it to the disk and rename it.

    Args:
        path: the file; its folder is made.
        content: what to write.

    Raises:
        OSError: it cannot be written. A file that was there stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        with partial.open('wb') as file:
            file.write(content)
            file.flush()
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
