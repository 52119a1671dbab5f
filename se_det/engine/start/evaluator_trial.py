"""Tries the evaluators of a config, and the names that hooks expect of them, before training."""

import contextlib
import difflib
import io
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.config import Config
from mmengine.logging import MMLogger

from se_det.datasets.check.sources import find_sources
from se_det.engine.coco_metric import EitherCocoMetric
from se_det.errors import UsageError
from se_det.files import check_folder

NOT_TRIED = ('ann_file', 'outfile_prefix', 'backend_args')
SIDE = 256  # of the images that are tried


def try_evaluator(cfg: Config, split: str) -> None:
    """Evaluate made-up detections with the options of each CocoMetric of a split.

    Args:
        cfg: the config of a run.
        split: ``'train'``, which has none, ``'val'`` or ``'test'``.

    Raises:
        UsageError: an option does not work, with the others or at all; or a hook or scheduler
            expects a metric by a name that the evaluator does not give.
    """
    evaluator = cfg.get(f'{split}_evaluator')
    if not evaluator:
        return
    names: list[str] = []
    are_known = True
    for metric in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]:
        if is_coco_metric(metric):
            names += _tried(cfg, split, {k: v for k, v in metric.items() if k[0] != '_'})
        else:
            are_known = False
    if split == 'val' and are_known:
        for place, name in _expected_names(cfg):
            if name not in names:
                nearest = difflib.get_close_matches(name, names, 1, cutoff=0)
                raise UsageError(
                    f'{place}={name!r} is none of the names that val_evaluator gives: '
                    f'{", ".join(names) or "none, with format_only=True"}. '
                    + (f'Set {place}={nearest[0]}' if nearest else 'Leave one of both out.')
                )


def is_coco_metric(metric: Any) -> bool:
    """Whether an evaluator in a config is MMDetection's CocoMetric, and none of its subclasses."""
    if not isinstance(metric, dict):
        return False
    kind = metric.get('type')
    return (METRICS.get(kind) if isinstance(kind, str) else kind) is CocoMetric


def _tried(cfg: Config, split: str, metric: dict) -> list[str]:
    """The names of what a metric gives; raises where its options do not work."""
    options = {name: value for name, value in metric.items() if name != 'type'}
    where = f'{split}_evaluator'
    roi_head = cfg.model.get('roi_head')
    if 'segm' in str(options.get('metric')) and roi_head and not roi_head.get('mask_head'):
        raise UsageError(
            f"{where}.metric has 'segm', but the roi_head of the model has no mask_head. "
            f'Add --cfg-options {where}.metric=bbox'
        )
    if prefix := options.get('outfile_prefix'):
        try:
            check_folder(Path(prefix).absolute().parent)
        except UsageError as error:
            raise UsageError(f'{where}.outfile_prefix: {error}') from error
    sources = find_sources(cfg, split)
    classes = sources[0].classes if sources else ('object',)
    try:
        values = _try(options, classes)
    except Exception as error:  # of mmdet, numpy, pycocotools: each option has its own
        found = ', '.join(f'{name}={value!r}' for name, value in options.items())
        raise UsageError(
            f'{where} cannot evaluate with {found}: {type(error).__name__}: {error}. '
            'Change or leave out options.'
        ) from error
    _check_numbers(where, options, values)
    return list(values)


def _check_numbers(where: str, options: dict, values: dict[str, float]) -> None:
    """MMDetection names averages by its default thresholds and numbers of detections."""
    numbers = sorted(options.get('proposal_nums', (100, 300, 1000)))
    is_named_well = options.get('metric') in ('proposal_fast', ['proposal_fast'])
    is_named_well = is_named_well or numbers[:3] == [100, 300, 1000]
    required = re.compile('mAP$' if options.get('metric_items') is None else 'mAP|AR')
    for name, value in values.items():
        is_misnamed = re.search('AR.*@', name) and not is_named_well
        if is_misnamed or (value == -1 and required.search(name)):
            raise UsageError(
                f'{where} cannot give {name}: AR needs proposal_nums=(100, 300, 1000), mAP needs '
                f'100 among them (got {tuple(numbers)}), mAP_50 and mAP_75 need these thresholds '
                'among iou_thrs. Change the option, or metric_items.'
            )


def _try(options: dict, classes: tuple[str, ...]) -> dict[str, float]:
    """Evaluate two images with perfect detections; returns metrics by their full names."""
    is_given = options.get('outfile_prefix') is not None
    options = {name: value for name, value in options.items() if name not in NOT_TRIED}
    logger = MMLogger.get_current_instance()
    level = logger.level
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        logger.setLevel(logging.ERROR)
        try:
            prefix = os.path.join(folder, 'results') if is_given else None
            metric = EitherCocoMetric(outfile_prefix=prefix, **options)
            metric.dataset_meta = dict(classes=classes)
            metric.process({}, list(_samples()))
            return metric.evaluate(size=2)
        finally:
            logger.setLevel(level)


def _samples() -> Iterator[dict]:
    """Two images of the first class: small, medium and large objects, and a large one."""
    boxes = np.array([[200, 200, 220, 220], [130, 10, 190, 70], [10, 10, 120, 120]], float)
    for number, own in enumerate((boxes, boxes[2:])):
        masks = torch.zeros(len(own), SIDE, SIDE, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, own.astype(int), strict=True):
            mask[y1:y2, x1:x2] = True
        found = dict(
            bboxes=torch.from_numpy(own).float(),
            scores=torch.ones(len(own)),
            labels=torch.zeros(len(own), dtype=torch.long),
            masks=masks,
        )
        instances = [
            dict(bbox=box, bbox_label=0, ignore_flag=0, mask=[_corners(*box)])
            for box in own.tolist()
        ]
        yield dict(
            img_id=number + 1, ori_shape=(SIDE, SIDE), pred_instances=found, instances=instances
        )


def _corners(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def _expected_names(cfg: Config) -> Iterator[tuple[str, str]]:
    """The metrics that hooks and schedulers need: the place in the config, and the name."""
    hooks = {
        f'default_hooks.{name}': hook for name, hook in (cfg.get('default_hooks') or {}).items()
    }
    for number, hook in enumerate(cfg.get('custom_hooks') or []):
        hooks[f'custom_hooks.{number}'] = hook
    schedulers = cfg.get('param_scheduler') or []
    if isinstance(schedulers, dict):
        schedulers = [schedulers]
    for number, scheduler in enumerate(schedulers):
        kind = scheduler.get('type') if isinstance(scheduler, dict) else ''
        if 'ReduceOnPlateau' in (kind if isinstance(kind, str) else kind.__name__):
            hooks[f'param_scheduler.{number}'] = dict(monitor=scheduler.get('monitor', 'loss'))
    for place, hook in hooks.items():
        for key in ('save_best', 'monitor'):
            found = hook.get(key) if isinstance(hook, dict) else None
            for name in [found] if isinstance(found, str) else found or []:
                if name != 'auto':
                    yield f'{place}.{key}', name
