"""Training with several processes where there is no GPU."""

import atexit
import gc
import os

import torch.distributed

# Imported later, it would take the group as the default of its functions, and so keep it.
import torch.distributed.nn
from mmengine.config import Config
from mmengine.device import get_device

from se_det.errors import UsageError


def join_process_group(cfg: Config, launcher: str) -> None:
    """Join the processes that torchrun started, with gloo if there is no accelerator.

    mmengine's own way asks for CUDA, in joining and in wrapping the model; where there is CUDA, or
    another accelerator, it is left to mmengine.

    Args:
        cfg: the config of the run; its ``model_wrapper_cfg`` is set.
        launcher: as in ``--launcher``.

    Raises:
        UsageError: the processes were not started by torchrun.
    """
    if launcher == 'none':
        return
    if launcher == 'pytorch' and not {'RANK', 'WORLD_SIZE', 'MASTER_ADDR'} <= set(os.environ):
        raise UsageError(
            '--launcher pytorch is for processes that torchrun starts. Type instead: '
            'tools/dist_train.sh CONFIG NUMBER_OF_PROCESSES'
        )
    if get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise UsageError(f'Without a GPU, the launcher must be none or pytorch; got {launcher}.')
    torch.distributed.init_process_group('gloo')
    atexit.register(_leave_process_group)
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def _leave_process_group() -> None:
    """Leave the group and end gloo's threads.

    A thread that still held a tensor when the interpreter goes would abort the process. Threads end
    with the last reference to the group, and the model's wrapper has one.
    """
    gc.collect()
    torch.distributed.destroy_process_group()
