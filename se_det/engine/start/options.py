"""Set options in a config. A new name that resembles a known one is taken for a mistake."""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from mmdet import registry as mmdet_registries
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner

from se_det.errors import UsageError

# What tools read from the top of a config, beside the arguments of mmengine's Runner.
TOP_LEVEL = {
    *inspect.signature(Runner.__init__).parameters,
    *('backend_args', 'coco_evaluation', 'compile', 'custom_imports', 'find_unused_parameters'),
    *('max_unreadable_images', 'model_wrapper_cfg', 'runner_type', 'strategy'),
    *('tta_model', 'tta_pipeline'),
} - {'self'}


def set_options(cfg: Config, options: Mapping[str, Any], source: str) -> None:
    """Set values in a config, as ``Config.merge_from_dict`` does.

    Args:
        cfg: changed in place.
        options: dotted names and their values; a value may be a dict of such names.
        source: the config in error messages.

    Raises:
        UsageError: an option does not fit, or adds a name that resembles one that is there or an
            argument of the class that is configured.
    """
    for name, value in options.items():
        _check_names(cfg._cfg_dict, {name: value}, '')
        try:
            cfg.merge_from_dict({name: value})
        except Exception as error:  # a path through a value that has no names, and many others
            raise UsageError(
                f'--cfg-options {name}={value} does not fit {source}: {error}'
            ) from error


def check_top_level(cfg: Config, source: str) -> None:
    """Check the names at the top of a config.

    Args:
        cfg: the config.
        source: its file in error messages.

    Raises:
        UsageError: a name resembles one that the tools read, and is none.
    """
    for name in cfg:
        if name not in TOP_LEVEL and (near := _near(name, TOP_LEVEL - set(cfg), 0.9)):
            raise UsageError(f'{source} sets {name}, which nothing reads. Did you mean {near}?')


def _check_names(node: Any, changes: Mapping[str, Any], path: str) -> None:
    """Check the names that are to be set in a part of the config, which is at ``path``."""
    for key, value in {} if changes.get('_delete_') else changes.items():
        name, _, rest = str(key).partition('.')
        if isinstance(node, Mapping):
            arguments = _arguments(changes.get('type', node.get('type'))) if path else TOP_LEVEL
            near = _near(name, {*node, *arguments}, 0.75)
            if near and near != name and not name.startswith('_'):
                raise UsageError(
                    f'--cfg-options {path}{name}: the config has no such name. Did you mean '
                    f'{path}{near}?'
                )
            child = node.get(name)
        else:
            is_index = isinstance(node, list | tuple) and name.isdecimal() and int(name) < len(node)
            child = node[int(name)] if is_index else None
        if rest or isinstance(value, Mapping):
            _check_names(child, {rest: value} if rest else value, f'{path}{name}.')


def _near(name: str, names: Iterable[str], cutoff: float) -> str | None:
    return next(iter(difflib.get_close_matches(name, sorted(names), 1, cutoff)), None)


def _arguments(kind: Any) -> set[str]:
    """Names of the arguments of a class, given as in a config: itself or its registered name."""
    if isinstance(kind, str):
        registries = vars(mmdet_registries).values()
        classes = [each.get(kind) for each in registries if isinstance(each, Registry)]
    else:
        classes = [kind]
    initialisers = {
        vars(base)['__init__']
        for found in filter(inspect.isclass, classes)
        for base in inspect.getmro(found)
        if inspect.isfunction(vars(base).get('__init__'))
    }
    return {name for function in initialisers for name in inspect.signature(function).parameters}
