"""Fills a template of the page and writes it, complete or not at all."""

import os
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from mmengine.utils.dl_utils import collect_env

from se_det.files import write_whole

PAGE = 'report.html'

_templates = Environment(
    loader=PackageLoader('se_det.report'),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def points(value: float | None) -> str:
    """An AP in points of 100; a dash where there is none: None, NaN or pycocotools' -1."""
    return f'{100 * value:.1f}' if value is not None and value >= 0 else '\N{EN DASH}'


_templates.filters['points'] = points


def write_page(folder: str | Path, template: str, **content: Any) -> Path:
    """Write ``report.html``.

    Args:
        folder: where to; created if it does not exist.
        template: ``'run.html'`` or ``'comparison.html'``.
        **content: what the template names.

    Returns:
        The path of the page.
    """
    text = _templates.get_template(template).render(content)
    page = Path(folder) / PAGE
    write_whole(page, text.encode(errors='replace'))  # names of files may not be text
    return page


@cache
def environment() -> dict[str, str]:
    """Versions and devices that the results depend on, by name."""
    found = collect_env()
    names = ('Python', 'PyTorch', 'TorchVision', 'MMEngine', 'OpenCV', 'CUDA_HOME', 'NVCC')
    kept = {name: str(found[name]) for name in names if name in found}
    kept['Python'] = kept['Python'].split()[0]
    gpus = [str(found[name]) for name in found if name.startswith('GPU ')]
    kept['Devices'] = ', '.join(gpus) or f'CPU, {os.cpu_count()} cores'
    return kept


def command() -> str:
    """The command line of this process, its program by its path from the current folder."""
    program = Path(sys.argv[0])
    if program.is_absolute() and program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return f'{program} {shlex.join(sys.argv[1:])}'
