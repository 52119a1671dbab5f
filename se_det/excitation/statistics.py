"""Statistics of gates: saturation, class specificity, and stages that could do without SE."""

from dataclasses import dataclass

import numpy as np

from se_det.excitation.gates import Excitation

NEAR_ZERO, NEAR_ONE = 0.1, 0.9  # beyond these, a gate counts as saturated
NEARLY_CONSTANT = 0.05  # variation up to which gates count as constant
NEARLY_EQUAL = 0.001  # mAP
SHUFFLES = 10  # of the images, for the specificity that is there by chance


@dataclass(frozen=True)
class BlockStatistics:
    """Statistics of the gates of a block.

    Attributes:
        name: of the block.
        stage: from 2 to 5.
        mean: over images and channels.
        std: of a channel over images, the mean over channels.
        near_zero: share of gates below 0.1.
        near_one: share of gates above 0.9.
        variation: how far gates are from their mean over images, relative: the root of
            ``sum of (s - mean)^2 / sum of s^2``. Zero: the block could do without SE, since the
            norm before can take a constant gate.
        specificity: the share of the variance over images that lies between classes (eta squared);
            an image counts once for each class that it holds.
        chance: the specificity when the images are shuffled.
        parameters: of the SE module.
    """

    name: str
    stage: int
    mean: float
    std: float
    near_zero: float
    near_one: float
    variation: float
    specificity: float
    chance: float
    parameters: int


def block_statistics(excitation: Excitation) -> list[BlockStatistics]:
    """Compute `BlockStatistics` of each block."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(excitation.holds)) for _ in range(SHUFFLES)]
    statistics = []
    for block in excitation.blocks:
        gates = block.gates.astype(np.float64)
        statistics.append(
            BlockStatistics(
                block.name,
                block.stage,
                mean=float(gates.mean()),
                std=float(gates.std(0).mean()),
                near_zero=float((gates < NEAR_ZERO).mean()),
                near_one=float((gates > NEAR_ONE).mean()),
                variation=float(np.sqrt(gates.var(0).sum() / (gates**2).mean(0).sum())),
                specificity=class_specificity(gates, excitation.holds),
                chance=float(
                    np.mean([class_specificity(gates[order], excitation.holds) for order in orders])
                ),
                parameters=block.parameters,
            )
        )
    return statistics


def class_specificity(gates: np.ndarray, holds: np.ndarray) -> float:
    """The variance of gates between classes over their total variance, over all channels.

    Args:
        gates: ``(I, C)``.
        holds: ``(I, K)``; an image counts once for each class that it holds.
    """
    holds = holds[:, holds.any(0)].astype(float)
    if not holds.size:
        return 0.0
    count = holds.sum(0)  # (K,)
    mean = holds.sum(1) @ gates / count.sum()  # (C,)
    class_means = holds.T @ gates / count[:, None]  # (K, C)
    between = (count @ (class_means - mean) ** 2).sum()
    total = (holds.sum(1) @ (gates - mean) ** 2).sum()
    return float(between / total) if total > 0 else 0.0


@dataclass(frozen=True)
class StageStatistics:
    """What a stage would save without SE, and lose.

    Attributes:
        stage: from 2 to 5.
        parameters: of its SE modules.
        share: of the backbone's parameters.
        variation: the largest of its blocks.
        near_one: share of gates above 0.9, the mean of its blocks.
        excess: specificity above chance, the mean of its blocks.
        map: mAP of the detector, where it was measured.
        map_constant: mAP with the gates of the stage at their means over images.
    """

    stage: int
    parameters: int
    share: float
    variation: float
    near_one: float
    excess: float
    map: float | None = None
    map_constant: float | None = None


def stage_statistics(
    blocks: list[BlockStatistics], backbone_parameters: int
) -> list[StageStatistics]:
    """Sum up the blocks of each stage."""
    statistics = []
    for stage in sorted({block.stage for block in blocks}):
        members = [block for block in blocks if block.stage == stage]
        parameters = sum(block.parameters for block in members)
        statistics.append(
            StageStatistics(
                stage,
                parameters,
                parameters / backbone_parameters,
                max(block.variation for block in members),
                float(np.mean([block.near_one for block in members])),
                float(np.mean([block.specificity - block.chance for block in members])),
            )
        )
    return statistics


def can_go(stage: StageStatistics) -> bool:
    """Whether a stage, alone, does much the same without SE.

    Its gates hardly depend on the image or, where that was measured, mAP hardly falls with its
    gates held constant.
    """
    if stage.map_constant is None:
        return stage.variation <= NEARLY_CONSTANT
    return stage.map - stage.map_constant <= NEARLY_EQUAL


def as_text(blocks: list[BlockStatistics], stages: list[StageStatistics]) -> str:
    """Both as Markdown tables, and a sentence on the stages that could go without SE."""
    lines = [
        f'| block | mean | std | < {NEAR_ZERO} | > {NEAR_ONE} | variation | class specificity '
        '| by chance | parameters |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    lines += [
        f'| {b.name} | {b.mean:.3f} | {b.std:.3f} | {b.near_zero:.1%} | {b.near_one:.1%} '
        f'| {b.variation:.1%} | {b.specificity:.3f} | {b.chance:.3f} | {b.parameters:,} |'
        for b in blocks
    ]
    measured = stages[0].map is not None
    lines += [
        '',
        'Without SE in | saves | of the backbone | variation at most'.join(('| ', ' |'))
        + (' mAP with constant gates |' if measured else ''),
        '|---|---|---|---|' + ('---|' if measured else ''),
    ]
    for stage in stages:
        row = (
            f'| stage {stage.stage} | {stage.parameters:,} | {stage.share:.2%} '
            f'| {stage.variation:.1%} |'
        )
        if measured:
            row += f' {stage.map_constant:.3f} ({stage.map_constant - stage.map:+.3f}) |'
        lines.append(row)
    reason = (
        f'held constant, its gates cost at most {100 * NEARLY_EQUAL:.1f} points of mAP'
        if measured
        else f'its gates stay within {NEARLY_CONSTANT:.0%} of their means over images'
    )
    going = [stage for stage in stages if can_go(stage)]
    if going:
        numbers = ', '.join(str(stage.stage) for stage in going)
        staying = {stage.stage for stage in stages if not can_go(stage)}
        kept = tuple(number in staying for number in range(2, 6))
        saved = sum(stage.parameters for stage in going)
        conclusion = (
            f'Could go without SE: stage {numbers}; {reason}. That saves {saved:,} parameters, '
            f'{sum(stage.share for stage in going):.1%} of the backbone. Each was looked at alone; '
            f'train with se_cfg=dict(stages={kept}) to be sure.'
        )
    else:
        conclusion = f'No stage could go without SE; of none it holds that {reason}.'
    return '\n'.join([*lines, '', conclusion])
