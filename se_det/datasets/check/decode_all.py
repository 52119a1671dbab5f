"""Decode all images of a folder in parallel processes; what was found is kept between runs."""

import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from se_det.datasets.check.facts import cache_file, save_json, stamp
from se_det.image_files import decode

CHUNK = 32

# Width and height, or what is wrong; and what the decoder complained about while it succeeded.
Decoded = tuple[list[int] | str, str]

_messages = None  # in a process of the pool: what its decoders write to standard error


def decode_images(
    folder: Path,
    file_names: Sequence[str],
    processes: int | None = None,
    decoder: tuple = ('color', 'cv2'),
) -> dict[str, Decoded]:
    """Decode images; those that have not changed since the last time are not read again.

    Args:
        folder: what the names are relative to.
        file_names: the images.
        processes: how many; default one for each core.
        decoder: ``color_type`` and ``imdecode_backend`` of the config.

    Returns:
        By name, what was found.
    """
    kept_in = cache_file('images', folder.resolve(), *decoder)
    kept = {}
    with suppress(OSError, ValueError):
        kept = json.loads(kept_in.read_text())
    stamps = {name: _stamp(folder / name) for name in file_names}
    new = [
        name for name in file_names if not stamps[name] or kept.get(name, [0])[0] != stamps[name]
    ]
    for name, decoded in zip(new, _decode_all(folder, new, processes, decoder), strict=True):
        kept[name] = [stamps[name], *decoded]
    save_json(kept_in, kept)
    return {name: tuple(kept[name][1:]) for name in file_names}


def _stamp(path: Path) -> list[int] | None:
    try:
        return stamp(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None


def _decode_all(
    folder: Path, names: list[str], processes: int | None, decoder: tuple
) -> Iterator[Decoded]:
    if not names:
        return
    paths = [str(folder / name) for name in names]
    console = Console(file=sys.stderr)
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    pool = ProcessPoolExecutor(
        min(processes or os.cpu_count() or 1, len(names)),
        multiprocessing.get_context('fork'),
        _catch_messages,
    )
    with (
        pool,
        Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        ) as progress,
    ):
        task = progress.add_task('images', total=len(names))
        for decoded in pool.map(partial(_decode, decoder=decoder), paths, chunksize=CHUNK):
            progress.advance(task)
            yield decoded


def _catch_messages() -> None:
    """Let libjpeg and libpng write to a file: it is the only way that they report damage."""
    global _messages
    cv2.setNumThreads(0)
    _messages = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the process)
    os.dup2(_messages.fileno(), 2)


def _decode(path: str, decoder: tuple) -> Decoded:
    _messages.seek(0)
    _messages.truncate()
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return f'cannot be read: {error.strerror}', ''
    except ValueError as error:
        return f'cannot be read: {error}', ''
    picture = decode(content, *decoder)
    _messages.seek(0)
    complaint = _messages.read(200).decode(errors='replace').strip().partition('\n')[0]
    if picture.fault:
        return picture.fault, ''
    return list(picture.pixels.shape[1::-1]), picture.note or complaint
