"""The gates of a trained detector: section 7.2 of the paper (arXiv 1709.01507)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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
from se_det.excitation.tables import write_gates, write_statistics

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
    write_gates(excitation, out / 'gates.csv')
    write_statistics(blocks, out / 'blocks.csv')
    write_statistics(stages, out / 'stages.csv')
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
