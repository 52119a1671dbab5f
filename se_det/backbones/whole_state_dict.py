"""A backbone loads a state dict that has all of its keys and no other, or raises."""

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from se_det.errors import UsageError

StateDict = dict[str, Tensor]

NAMED = 5  # keys listed in an error message
# Layers of mmdet's options dcn and plugins, which a checkpoint may lack.
ADDED_BY_OPTIONS = re.compile(r'\.conv_offset\.|_block\.|attention|\.plugin')


def refuse_what_does_not_fit(backbone: nn.Module) -> None:
    """Make an SE backbone raise on a detector's state dict that has a part of its keys, or others.

    mmengine loads with ``strict=False``: it skips missing and unexpected keys and only logs them.
    The state dict of the backbone alone is loaded as torch does.
    """
    backbone.register_load_state_dict_pre_hook(_refuse)


def _refuse(backbone: nn.Module, state_dict: StateDict, prefix: str, *_: Any) -> None:
    given = {key: tensor for key, tensor in state_dict.items() if key.startswith(prefix)}
    if not prefix or not given:
        return
    expected = {prefix + key: tensor for key, tensor in backbone.state_dict().items()}
    uncounted = [key for key in expected if key.endswith('.num_batches_tracked')]
    given = {**{key: expected[key] for key in uncounted}, **given}
    if problems := differences(expected, given, ADDED_BY_OPTIONS):
        raise UsageError(
            f'The checkpoint does not fit the {type(backbone).__name__} at {prefix}: '
            f"{problems}. Check the backbone's arguments. {backbone.misfit_hint}"
        )


def differences(expected: StateDict, weights: StateDict, may_lack: re.Pattern[str]) -> str:
    """Name the first keys that are missing, unexpected or of another shape; '' if there are none.

    Keys in which ``may_lack`` is found may be missing.
    """
    missing = [key for key in expected if key not in weights and not may_lack.search(key)]
    unexpected = [key for key in weights if key not in expected]
    return described(missing, unexpected, misshapen_keys(expected, weights).values())


def misshapen_keys(expected: StateDict, weights: StateDict) -> dict[str, str]:
    """Keys whose tensors differ in shape, each with a description."""
    return {
        key: f'{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}'
        for key in weights
        if key in expected and weights[key].shape != expected[key].shape
    }


def described(missing: Iterable[str], unexpected: Iterable[str], misshapen: Iterable[str]) -> str:
    """Count and name the first keys of each kind; '' if there are none."""
    kinds = ('missing', missing), ('unexpected', unexpected), ('of another shape', misshapen)
    counted = [(list(keys), what) for what, keys in kinds]
    return '; '.join(f'{len(keys)} {what}: {named(keys)}' for keys, what in counted if keys)


def named(keys: Iterable[str]) -> str:
    """Join the first few keys, for a message."""
    first = list(keys)
    return ', '.join(first[:NAMED]) + (', ...' if len(first) > NAMED else '')
