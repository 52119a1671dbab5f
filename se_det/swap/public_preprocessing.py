"""The images that public weights were trained on, and the ``data_preprocessor`` of a config."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from se_det.checkpoints.zoo import PublicWeights
from se_det.config_files import dicts_in


def preprocessing_changes(
    found: dict, weights: PublicWeights | type[PublicWeights] = PublicWeights
) -> dict[str, Any]:
    """Compare a ``data_preprocessor`` with what weights expect, by default those of the zoo.

    Returns:
        The arguments to set and their values; empty if nothing has to change.
    """
    wanted = deepcopy(weights.data_preprocessor)
    is_rgb = bool(found.get('bgr_to_rgb')) and not found.get('rgb_to_bgr')
    if is_rgb and all(_close(found.get(name), wanted[name]) for name in ('mean', 'std')):
        return {}
    return {**wanted, **(dict(rgb_to_bgr=False) if found.get('rgb_to_bgr') else {})}


def preprocessors(model: dict) -> Iterator[dict]:
    """Every ``data_preprocessor`` of a model's config that normalises images."""
    for path, part in dicts_in(model):
        if path.rpartition('.')[2] == 'data_preprocessor' and part.get('mean') is not None:
            yield part


def _close(found: Any, wanted: list[float]) -> bool:
    return (
        isinstance(found, list | tuple)
        and len(found) == len(wanted)
        and all(abs(a - b) < 0.01 for a, b in zip(found, wanted, strict=True))
    )
