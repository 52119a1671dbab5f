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
    new_figure,
    on_page,
    style,
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
    drawn = [_metric_differences(comparison), _class_differences(comparison)]
    if comparison.seeds > 1:
        drawn.append(_seeds(comparison, sides))
    return [*drawn, _errors(baseline, candidate, sides)]


def _metric_differences(comparison: Comparison) -> FigureOnPage:
    shown = [name for name, value in comparison.metrics.items() if value.low is not None]
    apart = [name for name in shown if _side(comparison.metrics[name])]
    title = f'{len(apart)} of {len(shown)} intervals exclude zero'
    return _forest(comparison.metrics, title, comparison)


def _class_differences(comparison: Comparison) -> FigureOnPage:
    known = {name: value for name, value in comparison.classes.items() if value.low is not None}
    ordered = dict(sorted(known.items(), key=lambda item: -item[1].difference))
    better = sum(value.difference > 0 for value in known.values())
    title = f'AP by class: higher in {better} of {len(known)}'
    return _forest(ordered, title, comparison)


def _forest(
    differences: Mapping[str, Difference], title: str, comparison: Comparison
) -> FigureOnPage:
    known = {name: value for name, value in differences.items() if value.low is not None}
    with style():
        figure = new_figure(440, 70 + ROW * max(len(known), 3))
        axes = figure.add_subplot()
        axes.axvline(0, color=MUTED, linewidth=1)
        for row, value in enumerate(known.values()):
            colour = {1: GOOD, -1: BAD, 0: MUTED}[_side(value)]
            low, middle, high = (100 * end for end in (value.low, value.difference, value.high))
            axes.plot([low, high], [row, row], color=colour, solid_capstyle='round', linewidth=2)
            axes.plot(middle, row, 'o', color=colour, markersize=6)
            axes.annotate(
                f'{middle:+.1f}',
                (1.01, row),
                xycoords=('axes fraction', 'data'),
                va='center',
                color=INK if _side(value) else MUTED,
                fontsize=10,
            )
        name_rows(axes, list(known))
        axes.set(xlabel='candidate minus baseline, in points', ylim=(len(known) - 0.4, -0.6))
        return on_page(
            figure,
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
    with style():
        figure = new_figure(440, 170)
        axes = figure.add_subplot()
        for row, values in enumerate((ap.baseline_seeds, ap.candidate_seeds)):
            axes.plot(
                100 * np.array(values), [row] * len(values), 'o', color=SERIES[row], alpha=0.7, ms=7
            )
            axes.plot(100 * np.mean(values), row, '|', color=INK, markersize=22, mew=1.8)
        name_rows(axes, sides)
        axes.set(xlabel='AP, in points', ylim=(1.6, -0.6))
        spreads = [
            100 * np.std(values, ddof=1) for values in (ap.baseline_seeds, ap.candidate_seeds)
        ]
        title = f'{comparison.seeds} seeds a side spread by {spreads[0]:.1f} and {spreads[1]:.1f}'
        return on_page(figure, title, 'Dot: a seed. Bar: mean. Spread: standard deviation.')


def _errors(
    baseline: Sequence[Diagnosis], candidate: Sequence[Diagnosis], sides: tuple[str, str]
) -> FigureOnPage:
    gains = [
        [100 * np.mean([seed.gains[error] for seed in side]) for error in ERRORS.values()]
        for side in (baseline, candidate)
    ]
    change = np.subtract(gains[1], gains[0])
    with style():
        figure = new_figure(440, 300)
        axes = figure.add_subplot()
        for side, (values, name) in enumerate(zip(gains, sides, strict=True)):
            rows = np.arange(len(ERRORS)) + 0.4 * side - 0.2
            axes.barh(rows, values, height=0.36, color=SERIES[side], label=name)
            for row, value in zip(rows, values, strict=True):
                axes.annotate(
                    f'{value:.1f}',
                    (value, row),
                    xytext=(4, 0),
                    textcoords='offset points',
                    va='center',
                    color=INK,
                    fontsize=10,
                )
        name_rows(axes, list(ERRORS.values()))
        axes.set(xlabel='points of AP50 to gain', xlim=(0, 1.2 * max(*gains[0], *gains[1], 0.5)))
        axes.invert_yaxis()
        axes.legend(loc='lower right')
        most = int(np.abs(change).argmax())
        title = f'Errors: {list(ERRORS.values())[most]} changes most, by {change[most]:+.1f} points'
        return on_page(
            figure,
            title,
            "TIDE's six types, each mended alone; the mean over the seeds of a side. Shorter is "
            'better. No intervals: read them beside those of AP50.',
        )
