"""mmengine's loading of checkpoints while a tool runs: no code in them runs, hashes are checked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader, _process_mmcls_checkpoint

from se_det.checkpoints.fetching import SCHEMES, fetch
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.state_dicts import find_weights


@contextmanager
def safe_loading() -> Iterator[None]:
    """Let mmengine read files with `read_checkpoint` and URLs with `fetch`, until the end.

    Schemes of other storage (``s3://``, ``petrel://``) are mmengine's own.
    """
    own = dict(CheckpointLoader._schemes)
    CheckpointLoader.register_scheme(('', *SCHEMES), loader=load_from_se_det, force=True)
    try:
        yield
    finally:
        for prefix, loader in own.items():
            CheckpointLoader.register_scheme(prefix, loader=loader, force=True)


def load_from_se_det(source: str, map_location: Any = None) -> dict:
    """Read a file, or a URL's; mmengine logs the loader's name without ``load_from_``.

    Its weights are under ``state_dict``, where mmengine looks for them.
    """
    path = fetch(source) if source.startswith(SCHEMES) else source
    checkpoint = read_checkpoint(path, map_location)
    checkpoint = {**checkpoint, 'state_dict': find_weights(checkpoint, source)}
    return _process_mmcls_checkpoint(checkpoint) if source.startswith('mmcls://') else checkpoint
