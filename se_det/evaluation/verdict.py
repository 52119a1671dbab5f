"""A comparison in words and in a table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from se_det.evaluation.comparison import Comparison, Difference

COVERS = {
    1: 'It covers the choice of images only: with one seed a side, nothing is known of other '
    'seeds, and runs of one config differ by several tenths of AP.',
    2: 'It covers the choice of images and of seeds; with two seeds a side the spread between '
    'seeds is hardly known, and that it is alike on both sides is taken for granted.',
    3: 'It covers the choice of images and of seeds.',
}


def verdict(ap: 'Difference', seeds: int, images: int) -> str:
    """Say in words what the interval of AP shows.

    Args:
        ap: AP of both sides.
        seeds: result files a side.
        images: that were evaluated.
    """
    if ap.difference is None:
        return 'The annotations have no object to find: there is nothing to compare.'
    low, high = 100 * ap.low, 100 * ap.high
    found = f'AP {100 * ap.difference:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}'
    if low > 0:
        says = 'The candidate is better'
    elif high < 0:
        says = 'The candidate is worse'
    else:
        says = 'No difference is shown'
    seeds_in_words = 'one seed' if seeds == 1 else f'{seeds} seeds'
    return (
        f'{says}: {found}, from {images} images and {seeds_in_words} a side. '
        f'{COVERS[min(seeds, 3)]}'
    )


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
