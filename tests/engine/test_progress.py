"""The bar of a real run of mmengine's, on a terminal of our making."""

import io
import re

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from rich.console import Console
from torch import nn

from se_det.engine.progress import ProgressHook

IMAGES, BATCH = 12, 4


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, inputs, mode):
        out = self.linear(torch.stack(inputs).float())
        return dict(loss=out.sum() * 0 + 0.125) if mode == 'loss' else [dict(out=x) for x in out]

    def train_step(self, data, optim_wrapper):
        return super().train_step(dict(inputs=data), optim_wrapper)

    def val_step(self, data):
        return self(data, mode='predict')

    test_step = val_step


class Count(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return dict(found=len(results))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Train for two epochs of three batches, with a validation after each, or test."""

    def start(method, terminal):
        shown = io.StringIO()
        console = Console(file=shown, force_terminal=terminal, width=100, legacy_windows=False)
        monkeypatch.setattr('sys.stdout', shown)
        loader = dict(
            dataset=list(torch.ones(IMAGES, 2)),
            batch_size=BATCH,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        )
        runner = Runner(
            Toy(),
            str(tmp_path),
            train_dataloader=loader,
            val_dataloader=loader,
            test_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=2),
            val_cfg=dict(),
            test_cfg=dict(),
            val_evaluator=[Count()],
            test_evaluator=[Count()],
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=1), checkpoint=None),
            default_scope='mmdet',
            experiment_name=f'{tmp_path.name}_{method}_{terminal}',
        )
        runner.register_hook(ProgressHook(console))
        getattr(runner, method)()
        (log,) = tmp_path.glob('*/*.log')
        return shown.getvalue(), log.read_text()

    return start


def test_train_on_a_terminal(run):
    shown, log = run('train', terminal=True)
    bars = [re.sub(r'\x1b\[[\d;?]*\w', '', line) for line in re.split(r'[\r\n]', shown)]
    last = [line for line in bars if line.startswith('train')][-1]
    assert re.search(r'epoch 2/2 iteration 6/6 loss 0\.125 [\d.]+ images/s 0:00:00 left', last), (
        last
    )
    assert not [line for line in bars if 'Epoch(train)' in line]  # the bar stands for them
    assert len(re.findall(r'Epoch\(train\) .* eta: ', log)) == 6
    summaries = [line for line in bars if 'found: 12' in line]
    assert len(summaries) == 2  # of both validations, above the bar
    assert '\x1b[?25l' in shown and shown.rstrip().endswith('\x1b[?25h')  # the cursor is back


def test_test_on_a_terminal(run):
    shown, _ = run('test', terminal=True)
    assert re.search(r'iteration 3/3 [\d.]+ images/s 0:00:00 left', shown)


def test_lines_elsewhere(run):
    shown, log = run('train', terminal=False)
    assert '\x1b[?25l' not in shown and 'images/s' not in shown
    for text in (shown, log):
        assert len(re.findall(r'Epoch\(train\) .* eta: ', text)) == 6
