"""Find and read config files."""

import difflib
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from se_det.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[1]
TOOLS = Path(__file__).with_name('tools')


def read_config(config: str | Path) -> Config:
    """Read a config file.

    Args:
        config: as for `find_config`. A package's config is read by way of ``_base_``, so that
            mmengine adds the package's scope to it.

    Raises:
        UsageError: the file does not exist or is not a config.
    """
    path = find_config(config)
    try:
        if '::' not in str(config):
            return Config.fromfile(path)
        cfg = Config.fromstring(f'_base_ = {inherited_name(config)!r}', '.py')
        return Config(cfg.to_dict(), cfg_text=path.read_text(), filename=path)
    except Exception as error:  # a config is a program: it may raise anything
        raise UsageError(
            f'{config} cannot be read as a config: {type(error).__name__}: {error}'
        ) from error


def model_of(cfg: Config, source: str) -> dict:
    """The config of the model in a config.

    Args:
        cfg: the config.
        source: its name in error messages.

    Raises:
        UsageError: it has none.
    """
    model = cfg.get('model')
    if not isinstance(model, dict) or 'type' not in model:
        raise UsageError(f'Expected the config of a detector; {source} has no model.')
    return model


def dicts_in(value: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """Every dict in a part of a config, outer ones first, the part itself included.

    Args:
        value: the part.
        path: where it is in the config, such as ``'model.backbone'``.

    Yields:
        Where each dict is, and the dict.
    """
    if isinstance(value, dict | Config):
        yield path, value
    elif not isinstance(value, list | tuple):
        return
    inner = value.items() if hasattr(value, 'items') else enumerate(value)
    for key, part in list(inner):
        yield from dicts_in(part, f'{path}.{key}' if path else str(key))


def inherited_name(config: str) -> str:
    """The name of a package's config in ``_base_``.

    mmengine allows only letters, digits and underscores before the first slash. For MMDetection's
    folder ``gn+ws``, the name is ``mmdet::_base_/../gn+ws/...``.
    """
    package, _, name = config.partition('::')
    name = name.removesuffix('.py') + '.py'
    is_allowed = re.fullmatch(r'\w+', name.partition('/')[0])
    return f'{package}::{name if is_allowed else f"_base_/../{name}"}'


def find_config(config: str | Path) -> Path:
    """Find a config file.

    Args:
        config: a path; or a config of se_det, such as ``configs/faster_rcnn_se_r50.py`` or
            ``faster_rcnn_se_r50.py``; or a config of an installed package, such as
            ``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py``.

    Raises:
        UsageError: it does not exist; the message suggests configs with similar names.
    """
    package, separator, name = str(config).partition('::')
    if separator:
        folder = package_configs(package)
        path = Path(f'{folder / name}'.removesuffix('.py') + '.py')
    else:
        path = Path(config)
        folder = package_configs('se_det') / 'configs'
        ours = [file for file in (folder.parent / path, folder / path) if file.is_file()]
        if not path.exists() and ours:
            path = ours[0].resolve()
    if not path.is_file():
        names = {file.name: file for file in folder.rglob('*.py')}
        near = [
            f'{package}::{names[name].relative_to(folder)}' if separator else name
            for name in difflib.get_close_matches(path.name, names, 3, 0.6)
        ]
        hint = f' Did you mean {" or ".join(near)}?' if near else ''
        raise UsageError(f'No config file {config}.{hint}')
    return path


def locate_teacher(model: dict) -> None:
    """Replace the path in a distiller's ``teacher_config``, if it has one, by that of a file here.

    MMDetection's configs give a path in MMDetection's checkout, ``configs/gfl/...``. The installed
    package has the same file.

    Args:
        model: the config of a model, changed in place.

    Raises:
        UsageError: there is no such file.
    """
    config = model.get('teacher_config')
    if isinstance(config, str | Path) and not Path(config).is_file():
        installed = package_configs('mmdet') / str(config).removeprefix('configs/')
        model['teacher_config'] = str(installed if installed.is_file() else find_config(config))


def package_configs(package: str) -> Path:
    """The folder of the configs that a package contains, as mmengine's ``package::`` finds it.

    Raises:
        UsageError: the package is not installed, or has no configs.
    """
    spec = find_spec(package) if package.isidentifier() else None
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location, '.mim', 'configs')
        if folder.is_dir():
            return folder.resolve()
    raise UsageError(
        f'No package {package!r} with configs is installed. For a config of MMDetection, type '
        'mmdet::folder/name.py.'
    )
