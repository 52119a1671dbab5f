"""The paper's figures 6 and 7 (arXiv 1709.01507, section 7.2) for a detector."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from se_det.excitation.gates import BlockGates, Excitation

PANELS_A_ROW = 3


def draw_by_class(excitation: Excitation, classes: Sequence[int]) -> Figure:
    """Figure 6: the mean gate of each channel for images that hold a class, against all images.

    Channels stand in the order of their mean over all images, so that one sees how far a class
    is from all.

    Args:
        excitation: the gates.
        classes: indices of the classes to draw.
    """

    def draw(axes: Axes, block: BlockGates, order: np.ndarray) -> None:
        for index in classes:
            gates = block.gates[excitation.holds[:, index]]
            axes.plot(gates.mean(0)[order], lw=0.5, alpha=0.8, label=excitation.classes[index])
        axes.plot(block.gates.mean(0)[order], color='black', lw=1.4, label='all images')

    return _panels(excitation, draw, 'Mean gate by class', 'mean gate')


def draw_spread(excitation: Excitation, classes: Sequence[int]) -> Figure:
    """Figure 7: mean and standard deviation over the images of a class, and over all.

    Args:
        excitation: the gates.
        classes: indices of the classes to draw.
    """

    def draw(axes: Axes, block: BlockGates, order: np.ndarray) -> None:
        groups = [(excitation.classes[index], excitation.holds[:, index]) for index in classes]
        for name, rows in [('all images', slice(None)), *groups]:
            gates = block.gates[rows][:, order]
            mean, std = gates.mean(0), gates.std(0)
            (line,) = axes.plot(mean, lw=0.8, label=name)
            axes.fill_between(
                range(len(mean)),
                np.maximum(mean - std, 0),
                np.minimum(mean + std, 1),
                color=line.get_color(),
                alpha=0.2,
                lw=0,
            )

    return _panels(excitation, draw, 'Mean gate and standard deviation over images', 'gate')


def _panels(
    excitation: Excitation,
    draw: Callable[[Axes, BlockGates, np.ndarray], None],
    title: str,
    quantity: str,
) -> Figure:
    blocks = [block for block in excitation.blocks if block.is_shown]
    rows = -(-len(blocks) // PANELS_A_ROW)
    figure = Figure(figsize=(12, 0.8 + 2.6 * rows), layout='constrained')
    columns = min(PANELS_A_ROW, len(blocks))
    grid = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for axes, block in zip(grid, blocks, strict=False):
        draw(axes, block, np.argsort(block.gates.mean(0), kind='stable'))
        axes.set(title=block.name, ylim=(0, 1), xlim=(0, block.gates.shape[1] - 1))
        axes.grid(alpha=0.3)
    for axes in grid[len(blocks) :]:
        axes.set_visible(False)
    figure.suptitle(f'{title} ({len(excitation.holds)} images)')
    figure.supxlabel('channel, by its mean over all images')
    figure.supylabel(quantity)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc='outside right center', frameon=False)
    for handle in legend.legend_handles:
        handle.set_linewidth(2)
    return figure
