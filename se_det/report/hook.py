"""Writes the page of a run after each validation and after a test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from se_det.engine.coco_metric import EitherCocoMetric
from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.results import Results, gather
from se_det.report.history import VALIDATED_AT, History
from se_det.report.run_page import write_run_page
from se_det.report.scores import Scores, score


@HOOKS.register_module()
class ReportHook(Hook):
    """Write ``report.html`` into the work directory after each validation and after a test.

    `tools/train.py` and `tools/test.py` add this hook to each config. The page shows the training
    curves, also those before a resume, and, if there is a CocoMetric, COCO's metrics and the errors
    of the detections. After a test, the curves are those of the checkpoint. If the page cannot be
    written, the log has the error and training continues.

    Args:
        num_images: how many validation images to show.
    """

    def __init__(self, num_images: int = 6) -> None:
        self.num_images = num_images
        self._loaded: dict = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the history of the training that a checkpoint comes from."""
        self._loaded = checkpoint.get('message_hub') or {}

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the page; the message hub is in checkpoints, so a resumed run has all curves."""
        runner.message_hub.update_scalar(VALIDATED_AT, runner.iter)
        self._write(runner, runner.val_evaluator, runner.val_dataloader.dataset)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the page."""
        self._write(runner, runner.test_evaluator, runner.test_dataloader.dataset)

    def after_train(self, runner: Runner) -> None:
        """Write the page of a run without validation."""
        if runner.val_loop is None:
            self._write(runner)

    @master_only
    def _write(
        self, runner: Runner, evaluator: Evaluator | None = None, dataset: Dataset | None = None
    ) -> None:
        try:
            metrics = evaluator.metrics if evaluator else []
            metric = next((m for m in metrics if isinstance(m, EitherCocoMetric)), None)
            page = write_run_page(
                runner,
                history=self._history(runner),
                scores=_scores(metric) if metric else [],
                paths=_paths(metric, dataset) if metric else {},
                num_images=self.num_images,
            )
            runner.logger.info(f'The page of this run: {page}')
        except Exception:  # hours of training are worth more than a page
            runner.logger.exception('The page of this run could not be written')

    def _history(self, runner: Runner) -> History:
        hub = runner.message_hub
        if 'train/loss' in hub.log_scalars or not self._loaded:
            return History.read(hub.log_scalars, hub.runtime_info)
        loaded = [self._loaded.get(part) or {} for part in ('log_scalars', 'runtime_info')]
        return History.read(*loaded)


def _scores(metric: EitherCocoMetric) -> list[Scores]:
    """Score what the metric evaluated, boxes and masks."""
    labels = np.array(metric.cat_ids)
    truth = GroundTruth(Path('annotations'), metric._coco_api, np.unique(labels), labels)
    results, metric.evaluated = metric.evaluated, []
    return [
        score(truth, _detections(results, truth, kind), kind)
        for kind in ('bbox', 'segm')
        if kind in metric.metrics
    ]


def _paths(metric: EitherCocoMetric, dataset: Dataset) -> dict[int, str]:
    """The paths of images by their numbers in the metric's annotations."""
    numbers = metric._coco_api.image_numbers
    infos = map(dataset.get_data_info, range(len(dataset)))
    return {
        numbers[info['img_id']]: info.get('img_path', '')
        for info in infos
        if info['img_id'] in numbers
    }


def _detections(results: Sequence[dict], truth: GroundTruth, kind: str) -> Results:
    """What CocoMetric would write to a result file, in the same order and precision."""
    ids, labels, scores, shapes = gather(((result['img_id'], result) for result in results), kind)
    numbers = [truth.coco.image_numbers[image] for image in ids]
    categories = truth.labels[labels.astype(int)]
    return Results(
        np.searchsorted(truth.images, numbers),
        np.searchsorted(truth.categories, categories),
        scores,
        shapes,
    )
