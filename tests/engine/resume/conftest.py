"""A toy training whose weights depend on all that a resume has to restore."""

import gc
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn

from se_det.engine.detector_runner import DetectorRunner


class Numbers(BaseDataset):
    """Sixteen samples, each with noise of Python, NumPy and torch; ``read`` counts them."""

    read = 0

    def load_data_list(self):
        return [dict(value=float(value), width=1 + value % 2 * 2, height=2) for value in range(16)]

    def __getitem__(self, index):
        type(self).read += 1
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return dict(inputs=torch.tensor([self.get_data_info(index)['value'] / 16, noise]))


class Toy(BaseModel):
    """Batch norm, dropout and a random number of the model's own."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1)
        )

    def forward(self, inputs, mode='tensor'):
        output = self.layers(torch.stack(inputs))
        if mode == 'loss':
            return dict(loss=(output - np.random.rand() - random.random()).square().mean())
        torch.rand(1)  # some detectors draw random numbers in validation
        return output


class Mean(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(float(torch.as_tensor(data_samples).mean()))

    def compute_metrics(self, results):
        return dict(score=sum(results))


class StopAt(Hook):
    """What a kill is to a test: an uncaught exception at an iteration, or in its validation."""

    priority = 'LOWEST'

    def __init__(self, iteration, stage='after_train_iter'):
        self.iteration, self.stage = iteration, stage

    def after_train_iter(self, runner, **kwargs):
        self._stop(runner.iter + 1, 'after_train_iter')

    def after_val_iter(self, runner, **kwargs):
        self._stop(runner.iter, 'after_val_iter')

    def _stop(self, iteration, stage):
        if (iteration, stage) == (self.iteration, self.stage):
            raise KeyboardInterrupt('killed')


@pytest.fixture
def toy_runner(tmp_path, monkeypatch):
    """Make a runner of the toy training; options are those of Runner."""
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)  # takes a second
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)
    # torch waits so long for each worker of a loader that is in a cycle, as a runner's is.
    monkeypatch.setattr('torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL', 0.1)
    made = []

    def make(
        work_dir='run',
        stop=None,
        workers=0,
        persistent=True,
        sampler='DefaultSampler',
        train_cfg=None,
        batch_sampler=None,
        **kwargs,
    ):
        Numbers.read = 0
        made.append(work_dir)
        processes = dict(num_workers=workers, persistent_workers=persistent and workers > 0)
        loader = dict(
            dataset=dict(type=Numbers),
            sampler=dict(type=sampler, shuffle=True),
            batch_size=2,
            batch_sampler=batch_sampler,
            **processes,
        )
        val_loader = dict(
            dataset=dict(type=Numbers),
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=8,
            **processes,
        )
        torch.manual_seed(0)
        options = dict(
            model=Toy(),
            work_dir=str(tmp_path / work_dir),
            train_dataloader=loader,
            train_cfg=train_cfg or dict(by_epoch=True, max_epochs=3),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            param_scheduler=dict(type='ExponentialLR', gamma=0.9, by_epoch=False),
            val_dataloader=val_loader,
            val_cfg=dict(),
            val_evaluator=dict(type=Mean),
            test_dataloader=val_loader,
            test_cfg=dict(),
            test_evaluator=dict(type=Mean),
            randomness=dict(seed=3),
            experiment_name=f'{tmp_path.name}_{work_dir}_{len(made)}',
            default_scope='mmdet',
            custom_hooks=[StopAt(*stop)] if stop else [],
        )
        options['custom_hooks'] += kwargs.pop('hooks', [])
        return DetectorRunner(**{**options, **kwargs})

    make.data = Numbers
    yield make
    gc.collect()
