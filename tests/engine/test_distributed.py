"""The process group of CPU runs ends with the run."""

import sys

import pytest
import torch

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
def test_no_thread_outlives_the_run(free_port, run_python):
    group = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port())
    (finished,) = run_python(['-c', RUN], CUDA_VISIBLE_DEVICES='', **group)
    assert finished.returncode == 0, finished.stderr
    counts = dict(line.split(': ') for line in finished.stdout.splitlines())
    assert int(counts['in the run']) > 0
    assert counts['at the end'] == '0'


STEP = """
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from se_det.backbones import SEResNet, blocks

verdicts = set()
fuses = blocks.fuses

def record(block, v):
    verdicts.add(fuses(block, v))
    return fuses(block, v)

blocks.fuses = record
rank, world_size, depth = map(int, sys.argv[1:4])
store, out = sys.argv[4:]
torch.manual_seed(0)
backbone = SEResNet(depth, base_channels=8, frozen_stages=1, norm_eval=True).double()
backbone.init_weights()
for module in backbone.modules():  # statistics of a trained network, residual branches that count
    if isinstance(module, torch.nn.BatchNorm2d):
        module.running_mean.normal_(0, 0.1)
        module.running_var.uniform_(0.5, 2)
        module.weight.data.uniform_(0.5, 1.5)
backbone.train()
images = torch.randn(4, 3, 32, 64, dtype=torch.float64)[rank::world_size]
model = backbone
if world_size > 1:
    dist.init_process_group('gloo', f'file://{store}', rank=rank, world_size=world_size)
    model = DistributedDataParallel(backbone, broadcast_buffers=False)
trained = [weight for weight in backbone.parameters() if weight.requires_grad]
optimizer = torch.optim.SGD(trained, 0.1, momentum=0.9)
for _ in range(2):
    optimizer.zero_grad()
    sum(feature_map.square().mean() for feature_map in model(images)).backward()
    optimizer.step()
if rank == 0:
    torch.save(dict(verdicts=verdicts, weights=backbone.state_dict()), out)
"""


@pytest.mark.parametrize('depth', [50, pytest.param(18, marks=pytest.mark.long)])
def test_two_ranks_train_as_one_process_with_the_same_batch(depth, tmp_path, run_python):
    """Two SGD steps in float64, to 1e-9, with fused tails."""
    programs = [
        ['-c', STEP, rank, count, depth, tmp_path / 'store', tmp_path / f'{count}.pth']
        for rank, count in ((0, 1), (0, 2), (1, 2))
    ]
    for finished in run_python(*programs, CUDA_VISIBLE_DEVICES=''):
        assert finished.returncode == 0, finished.stderr
    one, two = (torch.load(tmp_path / f'{count}.pth') for count in (1, 2))
    assert one['verdicts'] == two['verdicts'] == {True}
    for name, weight in one['weights'].items():
        torch.testing.assert_close(two['weights'][name], weight, rtol=1e-9, atol=1e-9)
