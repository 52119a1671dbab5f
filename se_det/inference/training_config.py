"""The config in a checkpoint, read as values: no code that the text may contain is run."""

import ast
import math
import sys
from typing import Any

import mmcv.ops
import mmengine.registry
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import Registry

from se_det.checkpoints.state_dicts import metadata
from se_det.config_files import dicts_in
from se_det.errors import UsageError

BUILT = ('model', 'data_preprocessor', 'test_dataloader', 'test_pipeline')  # for inference
NUMBERS = {'inf': math.inf, 'nan': math.nan}


def training_config(checkpoint: dict, source: str) -> Config:
    """Read the config that mmengine stores as text in ``checkpoint['meta']['cfg']``.

    Args:
        checkpoint: of `se_det.checkpoints.reading.read_checkpoint`.
        source: name of the checkpoint in error messages.

    Raises:
        UsageError: there is no config, it is not a list of values, it needs a module that was not
            imported, or it builds something that is not registered.
    """
    give_config = 'Give the config file that it was trained with, as `config`.'
    text = metadata(checkpoint).get('cfg')
    if not isinstance(text, str):
        raise UsageError(f'{source} has no config in it. {give_config}')
    try:
        cfg = Config(_values(text))
    except (AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise UsageError(
            f'The config in {source} has more than values in it ({error}). {give_config}'
        ) from error
    for module in cfg.get('custom_imports', {}).get('imports', ()):
        if module not in sys.modules:
            raise UsageError(
                f'The config in {source} needs the module {module}. If you know it, type '
                f'`import {module}` before. Or: {give_config}'
            )
    register_all_modules(init_default_scope=False)
    for _, built in dicts_in([cfg.get(part) for part in BUILT]):
        kind = built.get('type')  # mmengine builds, or calls, what it names
        if isinstance(kind, str) and not _is_registered(kind):
            raise UsageError(
                f'The config in {source} builds {kind!r}, which is not registered with '
                f'MMDetection. Import the module that registers it before. Or: {give_config}'
            )
    return cfg


def _values(text: str) -> dict[str, Any]:
    values = {}
    for statement in ast.parse(text).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=node):
                values[name] = _value(node)
            case _:
                raise ValueError(f'line {statement.lineno}')
    return values


def _value(node: ast.expr) -> Any:
    """The value of a literal, or of a call of ``dict``."""
    match node:
        case ast.Call(func=ast.Name(id='dict'), args=[*others], keywords=keywords):
            named = {keyword.arg: _value(keyword.value) for keyword in keywords}
            return dict(*map(_value, others), **named)
        case ast.Dict(keys=keys, values=values):
            return {_value(k): _value(v) for k, v in zip(keys, values, strict=True)}
        case ast.List(elts=elements):
            return [_value(element) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple(_value(element) for element in elements)
        case ast.Name(id=name) if name in NUMBERS:
            return NUMBERS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case _:
            return ast.literal_eval(node)


def _is_registered(kind: str) -> bool:
    """Whether a type is a registered name, also after its scope, or a layer of ``mmcv.ops``."""
    if hasattr(mmcv.ops, kind):
        return True
    scope, _, name = kind.rpartition('.')
    roots = [root for root in vars(mmengine.registry).values() if isinstance(root, Registry)]
    children = [child for root in roots for child in root.children.values()]
    return any(
        name in registry.module_dict and scope in ('', registry.scope)
        for registry in roots + children
    )
