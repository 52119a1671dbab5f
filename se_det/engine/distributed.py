"""Distributed training: torchrun, and CPUs."""

import atexit
import gc
import os
import signal

import torch.distributed

# Import before the group is created: its functions would bind the group as a default argument.
import torch.distributed.nn
from mmengine.config import Config
from mmengine.device import get_device

from se_det.engine.child_processes import end_with_parent
from se_det.errors import UsageError


def join_process_group(cfg: Config, launcher: str) -> None:
    """Initialise the process group with gloo if there is no accelerator.

    mmengine needs an accelerator to initialise the group and to wrap the model. With one, this
    function leaves both to mmengine.

    Args:
        cfg: the config of the run; without an accelerator, ``model_wrapper_cfg``
            is set if it is not there.
        launcher: as in ``--launcher``.

    Raises:
        UsageError: torchrun did not start this process, or there is no accelerator for ``slurm``
            or ``mpi``.
    """
    if launcher == 'none':
        return
    if launcher == 'pytorch' and not {'RANK', 'WORLD_SIZE', 'MASTER_ADDR'} <= set(os.environ):
        raise UsageError(
            '--launcher pytorch needs torchrun. Type instead: torchrun --nproc-per-node NUMBER '
            '-m se_det train CONFIG --launcher pytorch'
        )
    if launcher == 'pytorch':
        end_with_parent(signal.SIGTERM)  # torchrun ends without its processes if it is killed
    if get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise UsageError(f'Without a GPU, the launcher must be none or pytorch; got {launcher}.')
    torch.distributed.init_process_group('gloo')
    atexit.register(_leave_process_group)
    cfg.setdefault(
        'model_wrapper_cfg',
        dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        ),
    )


def _leave_process_group() -> None:
    """Destroy the process group at exit.

    A gloo thread that holds a tensor while the interpreter shuts down aborts the process. The
    threads end with the last reference to the group. The model's wrapper has one: collect it first.
    """
    gc.collect()
    torch.distributed.destroy_process_group()
