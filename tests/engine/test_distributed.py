"""The process group of CPU runs ends with the run."""

import os
import subprocess
import sys

import pytest

RUN = """
import atexit
from pathlib import Path

def gloo_threads():
    names = [path.read_text() for path in Path('/proc/self/task').glob('*/comm')]
    return len([name for name in names if 'gloo' in name])

atexit.register(lambda: print('at the end:', gloo_threads()))  # runs last

import torch
from mmengine.config import Config
from mmengine.registry import MODEL_WRAPPERS
from se_det.engine.distributed import join_process_group

def train():
    cfg = Config()
    join_process_group(cfg, 'pytorch')
    model = MODEL_WRAPPERS.build(dict(cfg.model_wrapper_cfg, module=torch.nn.Linear(3, 3)))
    model.itself = model  # a cycle, as in most runners
    torch.distributed.broadcast_object_list(['the metrics'])
    print('in the run:', gloo_threads())

train()
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='threads are read from /proc')
def test_no_thread_outlives_the_run(free_port):
    group = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port())
    environment = {**os.environ, **group, 'CUDA_VISIBLE_DEVICES': ''}
    finished = subprocess.run(
        [sys.executable, '-c', RUN], env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    counts = dict(line.split(': ') for line in finished.stdout.splitlines())
    assert int(counts['in the run']) > 0
    assert counts['at the end'] == '0'
