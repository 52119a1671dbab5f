"""matplotlib figures as SVG elements whose colours and font are those of the page."""

import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Figures are drawn in these unused colours, which CSS variables of the page then replace: one
# drawing serves light, dark and print.
INK, MUTED, LINE, SURFACE = '#010203', '#010204', '#010205', '#010206'
SERIES = ('#020301', '#020302', '#020303', '#020304', '#020305', '#020306')
GOOD, BAD = SERIES[0], SERIES[1]
VARIABLES = {INK: '--ink', MUTED: '--muted', LINE: '--line', SURFACE: '--surface'}
VARIABLES |= {colour: f'--series-{number}' for number, colour in enumerate(SERIES, 1)}

STYLE = {
    'svg.fonttype': 'none',
    'font.size': 11,
    'axes.labelsize': 11,
    'text.color': INK,
    'axes.labelcolor': MUTED,
    'axes.edgecolor': LINE,
    'axes.facecolor': 'none',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': LINE,
    'grid.linewidth': 0.6,
    'xtick.color': LINE,
    'ytick.color': LINE,
    'xtick.labelcolor': MUTED,
    'ytick.labelcolor': MUTED,
    'xtick.labelsize': 10,
    'ytick.labelsize': 10,
    'legend.frameon': False,
    'legend.fontsize': 10,
    'legend.labelcolor': INK,
    'lines.linewidth': 1.8,
    'figure.facecolor': 'none',
    'savefig.facecolor': 'none',
}
_drawn = itertools.count()


@dataclass(frozen=True)
class FigureOnPage:
    """A figure with its title, which says what is seen, and its caption."""

    svg: Markup
    title: str
    caption: str
    is_wide: bool


def style() -> rc_context:
    """The context in which the page's figures are made."""
    return rc_context(STYLE)


def new_axes(width: float = 440, height: float = 260) -> Axes:
    """The axes of an empty figure, whose size is the largest on the page, in pixels."""
    return Figure(figsize=(width / 72, height / 72), layout='constrained').add_subplot()


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write a name at each row 0, 1, ... from the top, without ticks and lines."""
    axes.set_yticks(range(len(names)), drawable(names), color=INK)
    axes.tick_params(axis='y', length=0)
    axes.grid(axis='y', visible=False)


def drawable(names: Sequence[str]) -> list[str]:
    """Names as matplotlib draws them: ``$`` begins no formula, and lone surrogates are ``?``."""
    return [name.encode(errors='replace').decode().replace('$', r'\$') for name in names]


def write_right(axes: Axes, row: float, text: str, x: float = 1, **style: Any) -> None:
    """Write at a row, beside the right edge of the axes, or at another share ``x`` of the width."""
    transform = axes.get_yaxis_transform()
    axes.text(x, row, text, transform=transform, va='center', fontsize=10, **style)


def on_page(axes: Axes, title: str, caption: str, is_wide: bool = False) -> FigureOnPage:
    """Turn a figure into an ``<svg>`` for a page that defines `VARIABLES`.

    Args:
        axes: of a figure, drawn and turned within `style`.
        title: what is seen; for screen readers too.
        caption: stands below it.
        is_wide: whether it takes the whole width of the page.
    """
    file = io.StringIO()
    nothing = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
    axes.figure.savefig(file, format='svg', metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>\s*|<!--.*?-->\s*', '', svg, flags=re.DOTALL)
    prefix = f'f{next(_drawn)}-'  # ids are unique in a page
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf'\g<1>{prefix}', svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f'var({variable})')
    width, height = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups()
    opening = (
        f'<svg class="plot" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {width} {height}" style="max-width:{float(width):.0f}px" '
        f'width="{width}" height="{height}">'
    )
    svg = Markup(re.sub(r'<svg[^>]*>', lambda _: opening, svg, count=1))
    return FigureOnPage(svg, title, caption, is_wide)
