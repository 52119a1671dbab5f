"""Figures of the training curves."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from se_det.report.history import History, smooth
from se_det.report.svg import SERIES, FigureOnPage, new_axes, on_page, style


def training_figures(history: History) -> list[FigureOnPage]:
    """Loss, its parts, learning rate, and mAP by epoch, as far as they were logged."""
    drawn = []
    with style():
        if len(history.losses.get('loss', ())):
            drawn.append(_loss(history))
            if len(history.losses) > 2:
                drawn.append(_loss_parts(history))
        if len(history.learning_rate):
            drawn.append(_learning_rate(history))
        if history.metrics:
            drawn.append(_map_by_epoch(history))
    return drawn


def _loss(history: History) -> FigureOnPage:
    values, window = history.losses['loss'], _window(history.losses['loss'])
    axes = new_axes()
    at, mean, low, high = smooth(values, window)
    x, unit = _training_axis(history, at)
    axes.fill_between(x, low, high, color=SERIES[0], alpha=0.18, linewidth=0)
    axes.plot(x, mean, color=SERIES[0])
    top = np.nanmax(high[len(high) // 50 :], initial=0)  # the first steps may be far above
    axes.set(xlabel=unit, xlim=(0, None), ylim=(0, 1.05 * top or None))
    title = f'Training loss: {mean[0]:.2f} at first, {mean[-1]:.2f} in the end'
    return on_page(
        axes,
        title,
        f'Line: mean over {window} iterations. Band: the middle 80 % of them.',
    )


def _loss_parts(history: History) -> FigureOnPage:
    axes = new_axes()
    parts = {name: values for name, values in history.losses.items() if name != 'loss'}
    in_the_end = {name: np.mean(values[-_window(values) :]) for name, values in parts.items()}
    largest = sorted(parts, key=lambda name: -in_the_end[name])[: len(SERIES)]
    for colour, name in zip(SERIES, largest, strict=False):
        at, mean, *_ = smooth(parts[name], _window(parts[name]))
        x, unit = _training_axis(history, at)
        axes.plot(x, mean, color=colour, label=name.removeprefix('loss_'), linewidth=1.5)
    axes.set(xlabel=unit, xlim=(0, None), ylim=(0, None))
    axes.legend(ncols=2, loc='upper right')
    title = f'Its parts: {largest[0].removeprefix("loss_")} is the largest in the end'
    return on_page(axes, title, 'Each smoothed in the same way.')


def _learning_rate(history: History) -> FigureOnPage:
    values = history.learning_rate
    axes = new_axes()
    at = np.unique(np.linspace(0, len(values) - 1, min(600, len(values))).round().astype(int))
    x, unit = _training_axis(history, at + 1)
    axes.plot(x, values[at], color=SERIES[2])
    axes.set(xlabel=unit, xlim=(0, None), ylim=(0, 1.08 * values.max() or None))
    axes.ticklabel_format(axis='y', style='sci', scilimits=(-2, 3), useMathText=True)
    title = f'Learning rate: {values.max():.2g} at most, {values[-1]:.2g} in the end'
    return on_page(axes, title, 'Of the first group of parameters.')


def _map_by_epoch(history: History) -> FigureOnPage:
    axes = new_axes()
    x, unit = _training_axis(history, history.validated_at)
    first = next(iter(history.metrics))
    for colour, (name, values) in zip(SERIES, history.metrics.items(), strict=False):
        axes.plot(x[-len(values) :], 100 * values, color=colour, marker='o', ms=4, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    best = int(np.nanargmax(history.metrics[first])) if len(x) else 0
    top = max(100 * np.nanmax(values) for values in history.metrics.values())
    axes.set(xlabel=unit, xlim=(0, None), ylim=(0, min(100, 1.15 * top) or 1))
    axes.legend(loc='lower right', ncols=2 if len(history.metrics) > 3 else 1)
    value = 100 * history.metrics[first][best]
    when = f'{unit} {x[-len(history.metrics[first]) :][best]:.6g}'
    title = f'{first} by {unit}: best {value:.1f} at {when}'
    return on_page(axes, title, 'Each validation, in points of 100.')


def _window(values: np.ndarray) -> int:
    return max(1, min(len(values) // 10, 200))


def _training_axis(history: History, iterations: np.ndarray) -> tuple[np.ndarray, str]:
    if history.epoch_length:
        return np.asarray(iterations) / history.epoch_length, 'epoch'
    return np.asarray(iterations), 'iteration'
