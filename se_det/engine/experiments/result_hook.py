"""A run of an experiment leaves its result, whole or not at all."""

import json
import os
import time
from pathlib import Path

from mmdet.evaluation import CocoMetric
from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

RESULT = 'result.json'
DETECTIONS = 'detections'


@HOOKS.register_module()
class RunResultHook(Hook):
    """Write ``result.json``, the metrics of the last validation, when training has ended.

    The detections of that validation are in ``detections.bbox.json`` (and ``.segm.json``) then. A
    run with a ``result.json`` has finished: it is renamed into place after all else.
    """

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Name the file of detections."""
        self.started_at = time.time()
        self.validated_at = None
        for metric in runner.val_evaluator.metrics:
            if isinstance(metric, CocoMetric):
                metric.outfile_prefix = str(Path(runner.work_dir, DETECTIONS))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the metrics."""
        self.validated_at = runner.iter
        self.metrics = metrics

    def after_train(self, runner: Runner) -> None:
        """Write the result; a run that was resumed after its last epoch is validated first."""
        if self.validated_at != runner.iter:
            runner.val_loop.run()
        self._write(runner)

    @master_only
    def _write(self, runner: Runner) -> None:
        seconds = round(time.time() - self.started_at, 1)
        result = dict(metrics=self.metrics, iterations=runner.iter, seconds=seconds)
        unfinished = Path(runner.work_dir, f'.{RESULT}')
        unfinished.write_text(json.dumps(result, indent=1))
        os.replace(unfinished, Path(runner.work_dir, RESULT))
