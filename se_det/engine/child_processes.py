"""Processes that end with their parent, and data-loader workers that end by nothing else.

Slurm, systemd and `timeout` send a signal to every process of a job. A training that saves a
checkpoint then still needs its workers. All this is for Linux.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

from torch.utils.data import DataLoader

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Let this process receive a signal when its parent ends, in whatever way.

    Args:
        number: the signal.
    """
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))


def guard_workers(loader: DataLoader) -> None:
    """Let the workers of a loader ignore signals and end with this process.

    Args:
        loader: a data loader that has not started its workers.
    """
    if loader.num_workers and sys.platform == 'linux':
        loader.worker_init_fn = partial(_guard_this, loader.worker_init_fn)
        loader._get_iterator = partial(
            _start, loader._get_iterator, loader.multiprocessing_context or multiprocessing
        )


def _start(get_iterator: Callable[[], Any], context: Any) -> Any:
    """Start workers. They inherit that signals are blocked: no moment is left to end them."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        if context.get_start_method() != 'fork':
            resource_tracker.ensure_running()  # unblocks some
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        return get_iterator()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _guard_this(init: Callable[[int], None] | None, worker: int) -> None:
    end_with_parent()
    threading.Thread(target=_obey, daemon=True).start()
    if init is not None:
        init(worker)


def _obey() -> None:
    """End if the parent terminates this worker, as multiprocessing does at exit, or is gone."""
    parent = multiprocessing.parent_process()
    while parent.is_alive():  # with a fork server, it is another than this process is a child of
        received = signal.sigtimedwait([signal.SIGTERM], 1)
        if received and received.si_pid == parent.pid:
            break
    os._exit(0)
