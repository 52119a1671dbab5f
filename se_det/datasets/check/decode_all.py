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
from rich.progress import track

from se_det.datasets.check.facts import cache_file, save_json, stamp
from se_det.image_files import decode_file

CHUNK = 32

# Width and height, or what is wrong; and what the decoder complained about while it succeeded.
Decoded = tuple[list[int] | str, str]

_messages = None  # in a process of the pool: what its decoders write to standard error


def decode_images(
    folder: Path, file_names: Sequence[str], decoder: tuple = ('color', 'cv2')
) -> dict[str, Decoded]:
    """Decode images; those that have not changed since the last time are not read again.

    Args:
        folder: what the names are relative to.
        file_names: the images.
        decoder: ``color_type`` and ``imdecode_backend`` of the config.

    Returns:
        By name, what was found.
    """
    kept_in = cache_file('images', folder.resolve(), *decoder)
    kept = {}
    with suppress(OSError, ValueError):
        kept = json.loads(kept_in.read_text())
    stamps = {}
    for name in file_names:
        with suppress(OSError, ValueError):  # ValueError: a name that no file can have
            stamps[name] = stamp(folder / name)
    new = [n for n in file_names if n not in stamps or kept.get(n, [0])[0] != stamps[n]]
    for name, decoded in zip(new, _decode_all(folder, new, decoder), strict=True):
        kept[name] = [stamps.get(name), *decoded]
    save_json(kept_in, kept)
    return {name: tuple(kept[name][1:]) for name in file_names}


def _decode_all(folder: Path, names: list[str], decoder: tuple) -> Iterator[Decoded]:
    if not names:
        return
    paths = [folder / name for name in names]
    console = Console(file=sys.stderr)
    processes, fork = min(os.cpu_count() or 1, len(names)), multiprocessing.get_context('fork')
    with ProcessPoolExecutor(processes, fork, _catch_messages) as pool:
        yield from track(
            pool.map(partial(_decode, decoder=decoder), paths, chunksize=CHUNK),
            'images',
            total=len(names),
            console=console,
            disable=not console.is_terminal,
        )


def _catch_messages() -> None:
    """Let libjpeg and libpng write to a file: it is the only way that they report damage."""
    global _messages
    cv2.setNumThreads(0)
    _messages = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the process)
    os.dup2(_messages.fileno(), 2)


def _decode(path: Path, decoder: tuple) -> Decoded:
    _messages.seek(0)
    _messages.truncate()
    picture = decode_file(path, *decoder)
    _messages.seek(0)
    complaint = _messages.read(200).decode(errors='replace').strip().partition('\n')[0]
    if picture.fault:
        return picture.fault, ''
    return list(picture.pixels.shape[1::-1]), picture.note or complaint
