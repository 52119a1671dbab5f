"""Read checkpoint files without running code that they may contain."""

import argparse
import pickle
import re
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from safetensors.torch import load_file

from se_det.errors import UsageError


def read_checkpoint(path: str | Path, map_location: Any = 'cpu', *, mmap: bool = False) -> dict:
    """Read a file of ``torch.save`` or safetensors, tensors and plain values only.

    Args:
        path: the file; its format is told by its content.
        map_location: as for `torch.load`.
        mmap: read tensors when they are used, where the format of the file allows it.

    Returns:
        The contents of the file.

    Raises:
        UsageError: the file is missing, damaged, not a checkpoint, or contains other objects than
            weights and training state; or ``map_location`` is a GPU that is not there.
    """
    path = Path(path).expanduser()
    if str(map_location).startswith('cuda') and not torch.cuda.is_available():
        raise UsageError(f"No GPU for map_location={map_location!r}. Set map_location='cpu'.")
    try:
        if not path.is_file():
            raise UsageError(
                f'No checkpoint at {path}. Check the path, or train one: python -m se_det train.'
            )
        if _is_safetensors(path):
            return load_file(path, device=str(map_location or 'cpu'))
        mmap = mmap and zipfile.is_zipfile(path)
        with path.open('rb') as file:  # by its path, torch tells safetensors by the ending
            checkpoint = torch.load(
                path if mmap else file, map_location=map_location, weights_only=True, mmap=mmap
            )
    except UsageError:
        raise
    except Exception as error:  # torch raises many types for files that are not checkpoints
        raise _refusal(path, error) from error
    if not isinstance(checkpoint, dict):
        raise UsageError(
            f'{path} contains a {type(checkpoint).__name__}; expected a dict of weights. Save '
            'model.state_dict().'
        )
    return checkpoint


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins with the length of a JSON object that follows."""
    with path.open('rb') as file:
        length, brace = file.read(8), file.read(1)
    return brace == b'{' and int.from_bytes(length, 'little') <= path.stat().st_size


def _refusal(path: Path, error: Exception) -> UsageError:
    """The error for a file that could not be loaded."""
    try:
        with path.open('rb') as file:
            beginning = file.read(512).lstrip()
    except OSError as unreadable:
        return UsageError(f'{path} cannot be read: {unreadable.strerror or unreadable}.')
    if beginning.startswith(b'<'):
        return UsageError(
            f'{path} is a web page, not a checkpoint. Download the file that the page links to.'
        )
    # torch's message suggests weights_only=False, so only the refused name is taken from it.
    if isinstance(error, pickle.UnpicklingError) or 'weights_only' in str(error):
        refused = re.search(r'GLOBAL (\S+)', str(error))
        return UsageError(
            f'{path} was not loaded: it is not a torch checkpoint, or contains other objects than '
            'weights and training state, which could run code'
            + (f' ({refused[1]}). ' if refused else '. ')
            + 'If it is a whole pickled model of yours, write its weights to a new file: '
            "torch.save(dict(state_dict=model.state_dict()), 'weights.pth')."
        )
    reason = traceback.format_exception_only(error)[0].partition('\n')[0]
    return UsageError(
        f'{path} is damaged or not a checkpoint ({reason}). Download or write it again.'
    )


def _allow_training_state() -> None:
    """Allow `torch.load` to load what training programs save beside the weights.

    These are mmengine's log, NumPy numbers, and the arguments of a command line. It is done when
    this module is imported, so that mmengine and mmdet load such files too.
    """
    scalars = (np.float64(0), np.float32(0), np.int64(0), np.int32(0), np.bool_(False))
    rebuild_scalar, rebuild_array = scalars[0].__reduce__()[0], np.empty(0).__reduce__()[0]
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            argparse.Namespace,
            np.ndarray,
            np.dtype,
            *{type(scalar.dtype) for scalar in scalars},
            *(
                (rebuild, f'{module}.{name}')
                for module in ('numpy.core.multiarray', 'numpy._core.multiarray')  # NumPy 1 and 2
                for rebuild, name in ((rebuild_scalar, 'scalar'), (rebuild_array, '_reconstruct'))
            ),
            (_statistic, 'builtins.getattr'),
        ]
    )


def _statistic(owner: type, name: str) -> Callable:
    """The one use of ``getattr`` in a training log: ``HistoryBuffer.mean`` and similar."""
    if owner is not HistoryBuffer or name not in ('mean', 'max', 'min', 'current'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r})')
    return getattr(owner, name)


_allow_training_state()
