"""Writes the result of a run, complete or not at all."""

import hashlib
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from se_det.files import write_whole

PACKAGE = Path(__file__).parents[2]
RESULT = 'result.json'
DETECTIONS = 'detections'
SECONDS = 'experiment_seconds'


@HOOKS.register_module()
class RunResultHook(Hook):
    """Write ``result.json``, the metrics of the last validation, when training has ended.

    The detections of that validation are in ``detections.bbox.json`` (and ``.segm.json``). A run
    that has a ``result.json`` has finished: it is the last file that is renamed into place.
    """

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Name the file of detections."""
        self.metrics: dict[str, float] | None = None
        before = runner.message_hub.runtime_info.get(SECONDS, 0.0)  # of a run that is resumed
        self.started_at = time.time() - before
        for metric in runner.val_evaluator.metrics:
            if isinstance(metric, CocoMetric):
                metric.outfile_prefix = str(Path(runner.work_dir, DETECTIONS))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the metrics."""
        self.metrics = metrics

    def before_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Keep the time where checkpoints save it."""
        runner.message_hub.update_info(SECONDS, time.time() - self.started_at)

    def after_train(self, runner: Runner) -> None:
        """Write the result."""
        if self.metrics is None:  # resumed at its very end
            runner.val_loop.run()
        self._write(runner)

    @master_only
    def _write(self, runner: Runner) -> None:
        seconds = round(time.time() - self.started_at, 1)
        result = dict(metrics=self.metrics, iterations=runner.iter, seconds=seconds, code=code())
        write_whole(Path(runner.work_dir, RESULT), json.dumps(result, indent=1).encode())


def code() -> str:
    """Versions of the code that trains, and a hash of se_det's own files."""
    files = sorted(PACKAGE.rglob('*.py'))
    digest = hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()[:12]
    return f'torch {torch.__version__}, mmdet {version("mmdet")}, se_det {digest}'
