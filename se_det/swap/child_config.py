"""Write a config as a child of another: ``_base_``, and the values that differ."""

import math
import os
import re
from keyword import iskeyword
from pathlib import Path
from typing import Any

from mmengine.config import Config

from se_det.config_files import find_config, inherited_name, read_config
from se_det.errors import UsageError
from se_det.files import write_whole
from se_det.swap.twin import swap_backbone

LINE = 100


def write_twin(config: str, out: str, **options: Any) -> str:
    """Write the SE twin of a config as its child.

    Args:
        config: as for `se_det.config_files.find_config`.
        out: a new ``.py`` file.
        **options: as for `se_det.swap_backbone`.

    Returns:
        The text that was written.

    Raises:
        UsageError: the config has no twin or has SE already, or ``out`` exists, is not a ``.py``
            file or cannot be written.
    """
    path = Path(out)
    if path.suffix != '.py':
        raise UsageError(f'--out must end in .py; got {out}.')
    if path.exists():
        raise UsageError(f'{out} exists. Remove it, or choose another name.')
    base = read_config(config)
    twin = swap_backbone(base, **options)
    if twin.to_dict() == base.to_dict():
        raise UsageError(f'{config} has SE already. Use it as it is.')
    text = child_config(base, twin, base_name(config, path.parent))
    write_whole(path, text.encode())
    return text


def base_name(config: str, folder: Path) -> str:
    """The ``_base_`` by which a config in ``folder`` inherits from another."""
    if '::' in config:
        return inherited_name(config)
    return Path(os.path.relpath(find_config(config).resolve(), folder.resolve())).as_posix()


def child_config(base: Config, twin: Config, name: str) -> str:
    """Write a config as the child of another.

    Args:
        base: the config to inherit from.
        twin: the config that the child loads as. It has all variables of ``base``.
        name: ``_base_`` of the child.

    Returns:
        The child's text.

    Raises:
        UsageError: the twin has a value that is not plain Python, or the base has classes for
            types (``read_base``) and cannot be imported from its child.
    """
    changed = _difference(base.to_dict(), twin.to_dict())
    if base.filename and Config._is_lazy_import(base.filename):
        return _pure_python(changed, base, name)
    lines = [f'_base_ = {name!r}']
    for key in sorted(changed, key=lambda key: key in base):  # new variables first
        lines.append(_text(f'{key} = ', changed[key], 0))
    return '\n'.join([*lines, ''])


def _pure_python(changed: dict[str, Any], base: Config, name: str) -> str:
    """A child with ``read_base``, as mmengine wants for a base that imports its classes."""
    *above, module = name.removesuffix('.py').split('/')
    if '::' in name or not all(part == '..' or part.isidentifier() for part in (*above, module)):
        raise UsageError(
            f'{name} cannot be imported with read_base: its path from --out must consist of '
            'identifiers. Choose an --out beside it, or train the twin without a file: '
            'python -m se_det train CONFIG --se.'
        )
    module = '.' + '.'.join('' if part == '..' else part for part in (*above, module))
    lines = ['from mmengine.config import read_base', '']
    lines += ['with read_base():', f'    from {module} import *', '']
    changed.pop('custom_imports', None)  # the imported classes do it
    for key, value in changed.items():
        if isinstance(value, dict) and key in base:
            lines.append(_text(f'{key}.merge(', value, 0) + ')')
        else:
            lines.append(_text(f'{key} = ', value, 0))
    text = '\n'.join([*lines, ''])
    classes = sorted(set(re.findall(r"type='mmdet\.(SE\w+)'", text)))
    text = re.sub(r"'mmdet\.(SE\w+)'", r'\1', text)
    return (f'from se_det.backbones import {", ".join(classes)}\n' if classes else '') + text


def _difference(base: Config | dict, twin: Config | dict) -> dict[str, Any]:
    """The values that mmengine merges into ``base`` to make ``twin``.

    mmengine merges a dict into a dict and replaces every other value. A dict with ``_delete_``
    replaces, too.
    """
    changed = {}
    for key, value in twin.items():
        if key not in base:
            changed[key] = value
        elif base[key] != value:
            if not isinstance(value, dict):
                changed[key] = value
            elif not isinstance(base[key], dict) or base[key].keys() - value.keys():
                changed[key] = dict(_delete_=True, **value)
            else:
                changed[key] = _difference(base[key], value)
    return changed


def _text(prefix: str, value: Any, indent: int) -> str:
    """Format ``prefix`` and a value: on one line if it fits, else one line for each item."""
    on_one_line = prefix + _on_one_line(value)
    if indent + len(on_one_line) < LINE or not isinstance(value, dict | list | tuple) or not value:
        return on_one_line
    opening, parts, closing = _parts(value)
    inside = ' ' * (indent + 4)
    lines = [f'{inside}{_text(name, part, indent + 4)},' for name, part in parts]
    return '\n'.join([prefix + opening, *lines, ' ' * indent + closing])


def _on_one_line(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        opening, parts, closing = _parts(value)
        comma = ',' if isinstance(value, tuple) and len(value) == 1 else ''
        text = ', '.join(name + _on_one_line(part) for name, part in parts)
        return opening + text + comma + closing
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    raise UsageError(
        f'{value!r} cannot be written in a config. Train the twin without a file: '
        'python -m se_det train CONFIG --se.'
    )


def _parts(value: dict | list | tuple) -> tuple[str, list[tuple[str, Any]], str]:
    """Opening bracket, items with the text before each (such as ``key=``), closing bracket."""
    if isinstance(value, list):
        return '[', [('', part) for part in value], ']'
    if isinstance(value, tuple):
        return '(', [('', part) for part in value], ')'
    if all(isinstance(key, str) and key.isidentifier() and not iskeyword(key) for key in value):
        return 'dict(', [(f'{key}=', part) for key, part in value.items()], ')'
    return '{', [(f'{key!r}: ', part) for key, part in value.items()], '}'
