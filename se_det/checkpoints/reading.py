"""Reading checkpoint files without running code that may be hidden in them."""

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors import SafetensorError
from safetensors.torch import load_file

from se_det.errors import UsageError


def read_checkpoint(path: str | Path, map_location: Any = 'cpu') -> dict:
    """Read a file of ``torch.save`` or safetensors, tensors and plain values only.

    Args:
        path: the file; ``.safetensors`` is told by its ending.
        map_location: as for `torch.load`.

    Returns:
        What the file holds.

    Raises:
        UsageError: the file is missing, damaged, not a checkpoint, or holds code.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UsageError(f'No checkpoint at {path}. Check the path, or train one: tools/train.py.')
    with path.open('rb') as file:
        if file.read(512).lstrip().startswith(b'<'):
            raise UsageError(
                f'{path} is a web page, not a checkpoint. Download the file that the page links to.'
            )
    try:
        if path.suffix == '.safetensors':
            return load_file(path, device=str(map_location or 'cpu'))
        _allow_training_state()
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, AttributeError) as error:
        raise UsageError(
            f'{path} was not loaded: it is no torch checkpoint, or holds Python objects other than '
            f'weights and training state, which could run code. Torch says: {_first_line(error)}'
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, SafetensorError) as error:
        raise UsageError(
            f'{path} is damaged or not a checkpoint ({_first_line(error)}). Download or write it '
            'again.'
        ) from error
    if not isinstance(checkpoint, dict):
        raise UsageError(
            f'{path} holds a {type(checkpoint).__name__}; expected a dict of weights. Save '
            'model.state_dict(), not something else.'
        )
    return checkpoint


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any) -> dict:
    """How mmengine reads a local file, for ``load_from`` and ``--resume`` too."""
    return read_checkpoint(filename, map_location)


def _allow_training_state() -> None:
    """Let `torch.load` rebuild what training programs put beside the weights.

    That is mmengine's log, NumPy numbers, and the arguments of a command line.
    """
    if not hasattr(torch.serialization, 'add_safe_globals'):  # torch < 2.4 reads weights alone
        return
    scalars = (np.float64(0), np.float32(0), np.int64(0), np.int32(0), np.bool_(False))
    rebuild_scalar, rebuild_array = scalars[0].__reduce__()[0], np.empty(0).__reduce__()[0]
    dtypes = {type(scalar.dtype) for scalar in scalars}
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            argparse.Namespace,
            np.ndarray,
            np.dtype,
            rebuild_scalar,
            rebuild_array,
            *dtypes,
            _statistic,
        ]
    )


def _statistic(owner: type, name: str) -> Callable:
    """The one use of ``getattr`` that a training log needs: ``HistoryBuffer.mean`` and its like."""
    if owner is not HistoryBuffer or name not in ('mean', 'max', 'min', 'current'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r})')
    return getattr(owner, name)


# The unpickler finds the functions that it may call by these names.
_statistic.__module__, _statistic.__name__, _statistic.__qualname__ = (
    'builtins',
    'getattr',
    'getattr',
)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition('\n')[0]
