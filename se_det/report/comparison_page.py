"""The page of a comparison of two sides."""

import difflib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from mmengine.config import Config

from se_det.evaluation import Comparison
from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.results import read_results
from se_det.report.comparison_figures import comparison_figures
from se_det.report.diagnosis import Diagnosis, diagnose
from se_det.report.marked_images import Picture, detection_marks, picture, truth_marks
from se_det.report.page import environment, write_page

PICTURES = 3  # of wins, and of losses


def write_comparison_page(
    folder: str | Path,
    comparison: Comparison,
    baseline: Sequence[str | Path],
    candidate: Sequence[str | Path],
    ann_file: str | Path,
    *,
    classes: Sequence[str] | None = None,
    images: str | Path | None = None,
    sides: tuple[str, str] = ('baseline', 'candidate'),
    seeds: Sequence[int] | None = None,
    configs: tuple[Config, Config] | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write ``report.html`` of a comparison.

    Args:
        folder: where to.
        comparison: of `se_det.evaluation.compare_runs`, with the arguments that follow.
        baseline: a result file for each seed.
        candidate: likewise.
        ann_file: the annotations.
        classes: that were evaluated; default all.
        images: the folder that ``file_name`` in the annotations starts from; without it, the page
            has no pictures.
        sides: what to call them.
        seeds: of the files, in their order; each was trained on both sides.
        configs: of both, for what differs between them.
        commands: that led here.

    Returns:
        The path of the page.

    Raises:
        UsageError: a file cannot be read, as `se_det.evaluation.compare_runs` raises it.
    """
    metric = comparison.metric
    truth = GroundTruth.read(ann_file, classes, masks=metric == 'segm')
    diagnoses = [
        [diagnose(truth, read_results(file, truth, metric), metric) for file in side]
        for side in (baseline, candidate)
    ]
    wins, losses = _pictures(truth, diagnoses, images, sides) if images else ([], [])
    counted = f'{comparison.seeds} seeds a side' if comparison.seeds > 1 else 'one seed a side'
    return write_page(
        folder,
        'comparison.html',
        title=f'{sides[1]} against {sides[0]}',
        facts=[
            'boxes' if comparison.metric == 'bbox' else 'masks',
            f'{comparison.images:,} images',
            counted,
            f'{comparison.resamples:,} resamples',
            f'{datetime.now():%Y-%m-%d %H:%M}',
        ],
        comparison=comparison,
        sides=sides,
        seeds=seeds if seeds and len(seeds) == comparison.seeds > 1 else [],
        drawn=comparison_figures(comparison, *diagnoses, sides),
        wins=wins,
        losses=losses,
        difference=_config_difference(*configs, sides) if configs else [],
        environment=environment(),
        commands=commands,
    )


def _pictures(
    truth: GroundTruth,
    diagnoses: list[list[Diagnosis]],
    folder: str | Path,
    sides: tuple[str, str],
) -> tuple[list[Picture], list[Picture]]:
    """Images whose F1, the mean over seeds, rises most and falls most."""
    f1 = np.array(
        [
            [[image.f1(seed.threshold) for image in seed.images] for seed in side]
            for side in diagnoses
        ]
    )  # (2, seeds, I)
    means = f1.mean(1)
    shown = np.abs(f1 - means[:, None]).argmin(1)  # (2, I), the seed nearest to the mean
    change = means[1] - means[0]
    order = np.argsort(-change, kind='stable')
    wins = [index for index in order[:PICTURES] if change[index] > 0]
    losses = [index for index in order[::-1][:PICTURES] if change[index] < 0]

    def draw(index: int) -> Picture | None:
        sample = diagnoses[0][0].images[index]
        path = Path(folder, truth.coco.imgs[sample.image_id]['file_name'])
        if not path.is_file():
            return None
        names = {category: entry['name'] for category, entry in truth.coco.cats.items()}
        panels = {f'Ground truth: {len(sample.truth)}': truth_marks(sample, names)}
        for number, name in enumerate(sides):
            seed = diagnoses[number][shown[number, index]]
            marks = detection_marks(seed.images[index], names, seed.threshold)
            panels[f'{name}: F1 {means[number, index]:.2f}'] = marks
        return picture(str(path), f'{path.name}: F1 {change[index]:+.2f}', panels)

    return tuple(list(filter(None, map(draw, group))) for group in (wins, losses))


def _config_difference(
    baseline: Config, candidate: Config, sides: tuple[str, str]
) -> list[tuple[str, str]]:
    """Lines of a unified diff, each with its kind: ``'+'``, ``'-'``, ``'@'`` or a space."""
    texts = [cfg.pretty_text.splitlines() for cfg in (baseline, candidate)]
    lines = list(difflib.unified_diff(*texts, *sides, lineterm='', n=2))[2:]
    return [(line[0], line) for line in lines]
