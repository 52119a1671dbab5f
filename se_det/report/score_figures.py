"""Figures of the errors of a detector."""

import numpy as np
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from se_det.report.diagnosis import ERRORS
from se_det.report.scores import Scores
from se_det.report.svg import (
    INK,
    MUTED,
    SERIES,
    SURFACE,
    FigureOnPage,
    drawable,
    name_rows,
    new_axes,
    on_page,
    style,
    write_right,
)

SHADES = 16  # of the cells of the confusion matrix


def score_figures(scores: Scores) -> list[FigureOnPage]:
    """Precision against recall, error types, and the confusion matrix."""
    with style():
        return [_precision_recall(scores), _errors(scores), _confusion(scores)]


def _precision_recall(scores: Scores) -> FigureOnPage:
    axes = new_axes()
    recall = np.linspace(0, 1, scores.precision.shape[1])
    for index, precision in enumerate(scores.precision):
        named = index in (0, 5, 9)
        axes.plot(
            recall,
            precision,
            color=SERIES[0],
            alpha=1 - 0.08 * index,
            linewidth=1.8 if named else 0.8,
            label=f'IoU {0.5 + 0.05 * index:.2f}' if named else None,
        )
    axes.legend()
    axes.set(xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.02))
    ap, ap50 = (100 * scores.stats[name] for name in ('AP', 'AP50'))
    title = f'Precision and recall: {ap50:.1f} under the curve at IoU 0.50, {ap:.1f} over all'
    return on_page(
        axes,
        title,
        'A line for each IoU from 0.50 to 0.95, the mean over the classes. '
        'The area under a line is its AP.',
    )


def _errors(scores: Scores) -> FigureOnPage:
    diagnosis = scores.diagnosis
    gains = [100 * diagnosis.gains[error] for error in ERRORS.values()]
    axes = new_axes()
    bars = axes.barh(range(len(ERRORS)), gains, color=SERIES[1], height=0.62)
    axes.bar_label(bars, fmt='%.1f', padding=4, color=INK)
    for row, error in enumerate(ERRORS.values()):
        write_right(axes, row, f'{diagnosis.counts[error]:,}', ha='right', color=MUTED)
    write_right(axes, -0.7, 'how many', ha='right', color=MUTED)
    name_rows(axes, list(ERRORS.values()))
    axes.set(xlabel='points of AP50 to gain', xlim=(0, 1.35 * max(*gains, 0.5)))
    axes.invert_yaxis()
    worst = max(ERRORS.values(), key=diagnosis.gains.get)
    title = f'Errors: {worst} costs most, {max(gains):.1f} points of AP50'
    return on_page(
        axes,
        title,
        "TIDE's six types, each mended alone (AP50 is "
        f'{100 * diagnosis.ap50:.1f}). Classification: right box, wrong class. Localisation: right '
        'class, IoU 0.1 to 0.5. Both: neither is right. Duplicate: the object was found already. '
        'Background: no object there. Missed: an object that none of these would find.',
    )


def _confusion(scores: Scores) -> FigureOnPage:
    counts = scores.diagnosis.confusion
    names = [kind.name for kind in scores.classes]
    many = len(names) > 25
    cell = 13 if many else 30
    label = 7 * max(map(len, names), default=0) * (0.7 if many else 0.95)
    side = cell * len(counts)
    axes = new_axes(max(440, side + label + 40), max(300, side + label + 40))
    shades = np.ceil(SHADES * counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(int)
    for right, colour in ((True, SERIES[0]), (False, SERIES[1])):
        for shade in range(1, SHADES + 1):
            cells = np.argwhere((shades == shade) & (np.eye(len(counts), dtype=bool) == right))
            if len(cells):
                axes.add_patch(_squares(cells, colour, 0.08 + 0.62 * shade / SHADES))
    if not many:
        for row, column in np.argwhere(counts):
            axes.text(
                column, row, counts[row, column], ha='center', va='center', fontsize=9, color=INK
            )
    ticks = range(len(counts))
    size = 7.5 if many else 10
    axes.set_xticks(ticks, drawable([*names, 'missed']), rotation=90, fontsize=size)
    axes.set_yticks(ticks, drawable([*names, 'no object']), fontsize=size)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set(xlabel='found', ylabel='ground truth', aspect='equal')
    axes.set(xlim=(-0.5, len(counts) - 0.5), ylim=(len(counts) - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    title = f'Confusion: {_most_confused(counts, names)}'
    return on_page(
        axes,
        title,
        f'Detections of score {scores.diagnosis.threshold:.2f} or more, where F1 is highest, at '
        'IoU 0.5. Each takes the free object that it overlaps most, of whatever class. Shade: '
        'share of the row.',
        is_wide=many,
    )


def _squares(cells: np.ndarray, colour: str, alpha: float) -> PathPatch:
    """One path for all cells ``(row, column)`` of a shade: thousands of patches take megabytes."""
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])
    path = Path.make_compound_path(*(Path(corners + cell[::-1], closed=True) for cell in cells))
    return PathPatch(path, facecolor=colour, alpha=alpha, edgecolor=SURFACE, lw=1)


def _most_confused(counts: np.ndarray, names: list[str]) -> str:
    between = counts[:-1, :-1] * (1 - np.eye(len(names), dtype=int))
    if not between.any():
        return 'no class is taken for another'
    row, column = np.unravel_index(between.argmax(), between.shape)
    return f'{names[row]} is most often taken for {names[column]} ({between[row, column]} times)'
