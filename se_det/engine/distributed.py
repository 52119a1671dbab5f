"""Training with several processes where there is no GPU."""

import atexit
import os

import torch.distributed
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
    # Or its threads may still run when the interpreter goes, which then aborts now and then.
    atexit.register(torch.distributed.destroy_process_group)
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
