"""The figures of a comparison: differences with their intervals, seeds, and errors."""

from collections.abc import Mapping, Sequence

import numpy as np

from se_det.evaluation import Comparison, Difference
from se_det.report.diagnosis import ERRORS, Diagnosis
from se_det.report.svg import (
    BAD,
    GOOD,
    INK,
    MUTED,
    SERIES,
    FigureOnPage,
    name_rows,
    new_axes,
    on_page,
    style,
    write_right,
)

ROW = 22  # height of a row, in pixels


def comparison_figures(
    comparison: Comparison,
    baseline: Sequence[Diagnosis],
    candidate: Sequence[Diagnosis],
    sides: tuple[str, str],
) -> list[FigureOnPage]:
    """Differences of metrics and of classes, AP of each seed, and error types of both sides.

    Args:
        comparison: of the sides.
        baseline: what is wrong in each seed.
        candidate: likewise.
        sides: what to call them.
    """
    with style():
        drawn = [_metric_differences(comparison), _class_differences(comparison)]
        if comparison.seeds > 1:
            drawn.append(_seeds(comparison, sides))
        return [*drawn, _errors(baseline, candidate, sides)]


def _metric_differences(comparison: Comparison) -> FigureOnPage:
    known = _known(comparison.metrics)
    apart = sum(_side(value) != 0 for value in known.values())
    return _forest(known, f'{apart} of {len(known)} intervals exclude zero', comparison)


def _class_differences(comparison: Comparison) -> FigureOnPage:
    known = _known(comparison.classes)
    ordered = dict(sorted(known.items(), key=lambda item: -item[1].difference))
    better = sum(value.difference > 0 for value in known.values())
    return _forest(ordered, f'AP by class: higher in {better} of {len(known)}', comparison)


def _known(differences: Mapping[str, Difference]) -> dict[str, Difference]:
    return {name: value for name, value in differences.items() if value.low is not None}


def _forest(known: Mapping[str, Difference], title: str, comparison: Comparison) -> FigureOnPage:
    axes = new_axes(440, 70 + ROW * max(len(known), 3))
    axes.axvline(0, color=MUTED, linewidth=1)
    for row, value in enumerate(known.values()):
        colour = {1: GOOD, -1: BAD, 0: MUTED}[_side(value)]
        low, middle, high = (100 * end for end in (value.low, value.difference, value.high))
        axes.plot([low, high], [row, row], color=colour, solid_capstyle='round', linewidth=2)
        axes.plot(middle, row, 'o', color=colour, markersize=6)
        write_right(axes, row, f'{middle:+.1f}', 1.01, color=INK if _side(value) else MUTED)
    name_rows(axes, list(known))
    axes.set(xlabel='candidate minus baseline, in points', ylim=(len(known) - 0.4, -0.6))
    return on_page(
        axes,
        title,
        f'Dot: difference. Line: {comparison.confidence:.0%} interval; in colour where it '
        'excludes zero. The verdict is on AP; of many intervals, one in twenty is in colour by '
        'chance.',
    )


def _side(value: Difference) -> int:
    """1 where the interval is above zero, -1 below, 0 around it."""
    return int(value.low > 0) - int(value.high < 0)


def _seeds(comparison: Comparison, sides: tuple[str, str]) -> FigureOnPage:
    ap = comparison.metrics['AP']
    both = 100 * np.array([ap.baseline_seeds, ap.candidate_seeds])
    axes = new_axes(440, 170)
    for row, values in enumerate(both):
        axes.plot(values, [row] * len(values), 'o', color=SERIES[row], alpha=0.7, ms=7)
        axes.plot(values.mean(), row, '|', color=INK, markersize=22, mew=1.8)
    name_rows(axes, sides)
    axes.set(xlabel='AP, in points', ylim=(1.6, -0.6))
    spreads = both.std(axis=1, ddof=1)
    title = f'{comparison.seeds} seeds a side spread by {spreads[0]:.1f} and {spreads[1]:.1f}'
    return on_page(axes, title, 'Dot: a seed. Bar: mean. Spread: standard deviation.')


def _errors(
    baseline: Sequence[Diagnosis], candidate: Sequence[Diagnosis], sides: tuple[str, str]
) -> FigureOnPage:
    errors = list(ERRORS.values())
    gains = 100 * np.array(
        [
            np.mean([[seed.gains[error] for error in errors] for seed in side], axis=0)
            for side in (baseline, candidate)
        ]
    )
    axes = new_axes(440, 300)
    for side, name in enumerate(sides):
        rows = np.arange(len(errors)) + 0.4 * side - 0.2
        bars = axes.barh(rows, gains[side], height=0.36, color=SERIES[side], label=name)
        axes.bar_label(bars, fmt='%.1f', padding=4, color=INK, fontsize=10)
    name_rows(axes, errors)
    axes.set(xlabel='points of AP50 to gain', xlim=(0, 1.2 * max(gains.max(), 0.5)))
    axes.invert_yaxis()
    axes.legend(loc='lower right')
    change = gains[1] - gains[0]
    most = int(np.abs(change).argmax())
    return on_page(
        axes,
        f'Errors: {errors[most]} changes most, by {change[most]:+.1f} points',
        "TIDE's six types, each mended alone; the mean over the seeds of a side. Shorter is "
        'better. No intervals: read them beside those of AP50.',
    )
