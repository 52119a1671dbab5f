"""Messages for wrong arguments of a backbone."""

import inspect
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS

from se_det.errors import ArgumentError, UsageError


@contextmanager
def argument_errors(name: str, kwargs: dict[str, Any]) -> Iterator[None]:
    """Raise what MMDetection's class raises for its arguments as an `ArgumentError`.

    Its assertions have no message; their source says what is expected.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # of any type: arguments are used unchecked
        reason = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        given = ', '.join(f'{key}={value!r}' for key, value in kwargs.items())
        raise ArgumentError(
            f'{name} cannot be built with {given}: {type(error).__name__}: {reason}'
        ) from error


def check_pretrained(name: str, pretrained: Any, init_cfg: Any) -> None:
    """Refuse mmengine's ``Pretrained``, which ignores keys that do not match.

    Raises:
        ArgumentError: the backbone ``name`` is given weights that way.
    """
    named = [pretrained] if pretrained is not None else []
    for cfg in init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]:
        if cfg is None:
            continue
        kind = cfg.get('type') if isinstance(cfg, dict) else None
        known = inspect.isclass(kind) or (isinstance(kind, str) and kind in WEIGHT_INITIALIZERS)
        if not known:
            raise ArgumentError(
                f'{name}: init_cfg must be a dict with the type of an initializer, such as '
                "dict(type='SEPretrained', checkpoint='mmpretrain/se_resnet50'), or a list of "
                f'them; got {init_cfg!r}.'
            )
        if PretrainedInit in (kind, isinstance(kind, str) and WEIGHT_INITIALIZERS.get(kind)):
            named.append(cfg.get('checkpoint'))
    if named:
        line = f"init_cfg=dict(type='SEPretrained', checkpoint={named[0]!r}"
        raise ArgumentError(
            f'{name} takes no weights by pretrained or Pretrained, which ignore keys that do not '
            f'match. Set\n{line})\nor, if they are plain, to graft SE to them,\n'
            f'{line}, graft=True)'
        )


def is_int(value: Any) -> bool:
    """Whether a value is an int and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_positive_ints(value: Any, length: int) -> bool:
    """Whether a value is a sequence of so many positive ints."""
    return _is_sequence(value, length) and all(is_int(v) and v > 0 for v in value)


def is_bools(value: Any, length: int) -> bool:
    """Whether a value is a sequence of so many bools."""
    return _is_sequence(value, length) and all(isinstance(v, bool) for v in value)


def _is_sequence(value: Any, length: int) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == length
