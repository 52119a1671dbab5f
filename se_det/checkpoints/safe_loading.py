"""mmengine's loading of checkpoints while a tool runs: no code in them runs, hashes are checked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader, _process_mmcls_checkpoint

from se_det.checkpoints.fetching import SCHEMES, fetch
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.state_dicts import with_state_dict


@contextmanager
def safe_loading() -> Iterator[None]:
    """Let mmengine read files with `read_checkpoint` and URLs with `fetch`, until the end.

    Schemes of other storage (``s3://``, ``petrel://``) are mmengine's own.
    """
    own = dict(CheckpointLoader._schemes)
    CheckpointLoader.register_scheme('', loader=load_from_file, force=True)
    CheckpointLoader.register_scheme(SCHEMES, loader=load_from_url, force=True)
    try:
        yield
    finally:
        for prefix, loader in own.items():
            CheckpointLoader.register_scheme(prefix, loader=loader, force=True)


def load_from_file(path: str, map_location: Any = None) -> dict:
    """Read a file. mmengine logs that the loader without ``load_from_`` is used."""
    return with_state_dict(read_checkpoint(path, map_location), path)


def load_from_url(url: str, map_location: Any = None) -> dict:
    """Download a file, if it is not in the cache, and read it."""
    checkpoint = with_state_dict(read_checkpoint(fetch(url), map_location), url)
    return _process_mmcls_checkpoint(checkpoint) if url.startswith('mmcls') else checkpoint
