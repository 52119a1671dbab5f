"""A comparison in words and in a table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from se_det.evaluation.comparison import Comparison, Difference


def verdict(comparison: 'Comparison') -> str:
    """Say in words what the interval of AP shows: of two checkpoints, or of seeds.

    Args:
        comparison: of two sides.
    """
    ap, seeds = comparison.metrics['AP'], comparison.seeds
    if ap.difference is None:
        return 'The annotations have no object to find: there is nothing to compare.'
    low, high = 100 * ap.low, 100 * ap.high
    side = 1 if low > 0 else -1 if high < 0 else 0
    images, units = f'{comparison.images} images', 'images'
    if comparison.groups:
        images, units = f'{images} in {comparison.groups} groups', 'groups of images'
    if seeds == 1:
        says = 'These two checkpoints ' + ('differ' if side else 'show no difference')
        counted = 'one seed a side'
        covers = (
            f'the choice of {units} only: with one seed a side, nothing is known of other seeds, '
            'and runs of one config differ by several tenths of AP.'
        )
    else:
        says = ('No difference is shown', 'The candidate is better', 'The candidate is worse')[side]
        counted = f'{seeds} pairs of seeds' if comparison.paired else f'{seeds} seeds a side'
        unsure = '; with two seeds a side the spread between seeds is hardly known'
        covers = f'the choice of {units} and of seeds{unsure if seeds == 2 else ""}.'
    parts = [
        f'{says}: AP {100 * ap.difference:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}, from '
        f'{images} and {counted}.',
        f'It covers {covers}',
    ]
    if len(looks := comparison.looks) > 1:
        parts.append(
            f'This is look {looks.index(seeds) + 1} of the {len(looks)} that were planned, at '
            f'{", ".join(map(str, looks))} seeds a side; the intervals are adjusted for all.'
        )
    return ' '.join([*parts, *(f'{repeat}.' for repeat in comparison.repeated)])


def table(comparison: 'Comparison') -> str:
    """Return Markdown: the twelve metrics, the classes, the verdict.

    Args:
        comparison: of two sides; its values are multiplied by 100.
    """
    parts = [
        _rows(f'{comparison.metric}, %', comparison.metrics),
        _rows('AP of a class, %', comparison.classes),
        comparison.verdict,
    ]
    return '\n\n'.join(parts)


def _rows(title: str, differences: 'dict[str, Difference]') -> str:
    lines = [
        f'| {title} | baseline | candidate | difference | 95 % interval |',
        '|---|---|---|---|---|',
    ]
    for name, found in differences.items():
        if found.difference is None:
            lines.append(f'| {name} | - | - | - | - |')
        else:
            baseline, candidate = 100 * found.baseline, 100 * found.candidate
            difference, low, high = 100 * found.difference, 100 * found.low, 100 * found.high
            lines.append(
                f'| {name} | {baseline:.2f} | {candidate:.2f} | {difference:+.2f} | '
                f'{low:+.2f} to {high:+.2f} |'
            )
    return '\n'.join(lines)
