"""The page of one run."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from mmengine.runner import Runner

from se_det.evaluation.ground_truth import IOU_THRESHOLDS, MAX_DETECTIONS
from se_det.evaluation.metrics import METRICS
from se_det.report.history import History
from se_det.report.marked_images import Picture, detection_marks, picture, spread, truth_marks
from se_det.report.page import command, environment, write_page
from se_det.report.score_figures import score_figures
from se_det.report.scores import Scores
from se_det.report.training_figures import training_figures

AREA_NAMES = ('all', 'small', 'medium', 'large')
KINDS = {'bbox': 'boxes', 'segm': 'masks'}


def write_run_page(
    runner: Runner,
    history: History,
    scores: Sequence[Scores],
    paths: Mapping[int, str],
    num_images: int,
) -> Path:
    """Write ``report.html`` into the work directory of a run.

    Args:
        runner: of the run; its config, log and state are read.
        history: of its training.
        scores: of its detections: boxes, masks, or none where COCO's metric was not used.
        paths: where images are, by their COCO id.
        num_images: how many of them to show.

    Returns:
        The path of the page.
    """
    file = runner.cfg.filename
    return write_page(
        runner.work_dir,
        'run.html',
        title=Path(file).stem if file else runner.experiment_name,
        facts=_facts(runner, history, scores),
        headline=[(name, scores[0].stats[name]) for name in list(METRICS)[:6]] if scores else [],
        kinds=[KINDS[one.metric] for one in scores],
        metrics=_metric_rows(scores),
        training=training_figures(history),
        results=[(KINDS[one.metric], score_figures(one), one.classes_by_ap) for one in scores],
        pictures=_pictures(scores, paths, num_images),
        threshold=scores[-1].diagnosis.threshold if scores else None,
        environment=environment(),
        command=command(),
        config=runner.cfg.pretty_text,
    )


def _metric_rows(scores: Sequence[Scores]) -> list[tuple]:
    """Name, IoU, area, detections an image, and the values: the rows of pycocotools' table."""
    rows = []
    for name, (_, area, thresholds, number) in METRICS.items():
        iou = IOU_THRESHOLDS[thresholds]
        span = f'{iou[0]:.2f}' if len(iou) == 1 else f'{iou[0]:.2f}\N{EN DASH}{iou[-1]:.2f}'
        values = [one.stats[name] for one in scores]
        rows.append((name, span, AREA_NAMES[area], MAX_DETECTIONS[number], values))
    return rows


def _facts(runner: Runner, history: History, scores: Sequence[Scores]) -> list[str]:
    """Facts of the run for the first line of the page, the most important first."""
    backbone = getattr(runner.model, 'backbone', None)
    parameters = sum(parameter.numel() for parameter in runner.model.parameters())
    facts = [type(runner.model).__name__]
    if backbone is not None:
        facts.append(f'{type(backbone).__name__} {getattr(backbone, "depth", "")}'.strip())
    facts.append(f'{parameters / 1e6:.1f} M parameters')
    if len(history.losses.get('loss', ())):
        iterations = len(history.losses['loss'])
        length = history.epoch_length
        facts.append(f'epoch {iterations / length:.6g}' if length else f'iteration {iterations:,}')
    if len(history.seconds):
        total = history.seconds.sum()
        facts.append(
            f'{np.median(history.seconds):.2f} s an iteration, {total / 60:.0f} min in all'
        )
    if scores:
        objects = sum(kind.objects for kind in scores[0].classes)
        facts.append(f'{len(scores[0].diagnosis.images):,} images, {objects:,} objects')
    if getattr(runner, 'iter', 0):  # a test has a random seed, which has no meaning
        facts.append(f'seed {runner.seed}')
    return [*facts, f'{datetime.now():%Y-%m-%d %H:%M}']


def _pictures(scores: Sequence[Scores], paths: Mapping[int, str], number: int) -> list[Picture]:
    if not scores:
        return []
    names, diagnosis = scores[-1].names, scores[-1].diagnosis
    threshold = diagnosis.threshold
    readable = [i for i in diagnosis.images if Path(paths.get(i.image_id, '')).is_file()]
    pictures = []
    for image in spread(readable, number, threshold):
        wanted = truth_marks(image, names, threshold)
        found = detection_marks(image, names, threshold)
        missed = sum(mark.kind == 'missed' for mark in wanted)
        wrong = sum(mark.kind == 'wrong' for mark in found)
        path = paths[image.image_id]
        panels = {
            f'Ground truth: {len(wanted)}, of which {missed} missed': wanted,
            f'Detections: {len(found)}, of which {wrong} wrong': found,
        }
        title = f'{Path(path).name}: F1 {image.f1(threshold):.2f}'
        pictures.append(picture(path, title, panels))
    return pictures
