"""The gates of a trained detector: section 7.2 of the paper (arXiv 1709.01507)."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import numpy as np
from mmengine.config import Config

from se_det.errors import UsageError
from se_det.excitation.constant_gates import map_with_constant_gates
from se_det.excitation.figures import draw_by_class, draw_spread
from se_det.excitation.gates import Excitation, collect_gates, load_detector
from se_det.excitation.statistics import (
    BlockStatistics,
    StageStatistics,
    as_text,
    block_statistics,
    stage_statistics,
)
from se_det.files import write_whole

__all__ = ['BlockStatistics', 'StageStatistics', 'as_text', 'plot_excitation']

DRAWN_CLASSES = 5


def plot_excitation(
    cfg: Config,
    checkpoint: str,
    out: str | Path,
    *,
    num_images: int = 500,
    classes: Sequence[str] = (),
    evaluate: bool = False,
) -> tuple[list[BlockStatistics], list[StageStatistics]]:
    """Draw the gates of a detector by class, with statistics of blocks and stages.

    Writes ``gates_by_class.png`` (the paper's figure 6), ``gates_spread.png`` (figure 7),
    ``gates.csv``, ``blocks.csv`` and ``stages.csv``.

    Args:
        cfg: of an SE detector; its validation images are read.
        checkpoint: path or URL of its weights.
        out: the folder to write to.
        num_images: how many images to read gates for, at most, evenly spread over the data set.
        classes: those to draw; default the five most common in the images.
        evaluate: measure mAP with the gates of each stage in turn held constant.

    Returns:
        The statistics of each block with SE, and of each stage.

    Raises:
        UsageError: the detector has no SE, the checkpoint or the data does not fit, or no image
            holds one of the classes.
    """
    if num_images < 2:
        raise UsageError(f'--num-images must be at least 2; got {num_images}.')
    model = load_detector(cfg, checkpoint)
    excitation = collect_gates(cfg, model, num_images)
    drawn = _indices(excitation, classes)
    blocks = block_statistics(excitation)
    stages = stage_statistics(blocks, excitation.backbone_parameters)
    if evaluate:
        measured = map_with_constant_gates(cfg, model, excitation)
        stages = [
            replace(stage, map=measured[None], map_constant=measured[stage.stage])
            for stage in stages
        ]
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    draw_by_class(excitation, drawn).savefig(out / 'gates_by_class.png', dpi=150)
    draw_spread(excitation, drawn[:2]).savefig(out / 'gates_spread.png', dpi=150)
    _write_gates(excitation, out / 'gates.csv')
    for name, statistics in (('blocks', blocks), ('stages', stages)):
        rows = [asdict(one) for one in statistics]
        _write_csv(out / f'{name}.csv', rows[0], (row.values() for row in rows))
    return blocks, stages


def _indices(excitation: Excitation, classes: Sequence[str]) -> list[int]:
    held = excitation.common_classes
    if not classes:
        return held[:DRAWN_CLASSES]
    names = [excitation.classes[index] for index in held]
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise UsageError(
            f'--classes: none of the {len(excitation.holds)} images holds {unknown[0]!r}; they '
            f'hold {", ".join(names)}.'
        )
    return [excitation.classes.index(name) for name in classes]


def _write_gates(excitation: Excitation, path: Path) -> None:
    """Write mean and standard deviation of each channel that the figures show as CSV."""
    held = excitation.common_classes
    names = ['all images', *(excitation.classes[index] for index in held)]
    header = ['block', 'channel', *(f'{what} {name}' for name in names for what in ('mean', 'std'))]
    groups = [slice(None), *(excitation.holds[:, index] for index in held)]
    rows = []
    for block in excitation.blocks:
        if block.is_shown:
            gates = [block.gates[group] for group in groups]
            columns = np.array([part for one in gates for part in (one.mean(0), one.std(0))])
            rows += [
                [block.name, channel, *values] for channel, values in enumerate(columns.T.tolist())
            ]
    _write_csv(path, header, rows)


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    text = StringIO(newline='')
    writer = csv.writer(text)
    writer.writerow(header)
    for row in rows:
        writer.writerow([f'{value:.4f}' if isinstance(value, float) else value for value in row])
    write_whole(path, text.getvalue().encode())
