"""Frozen stages of a backbone need weights that were loaded."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from se_det.engine.start.starting_weights import starting_weights
from se_det.errors import UsageError


def check_frozen_stages(cfg: Config) -> None:
    """Check that no backbone freezes stages at random weights.

    Args:
        cfg: the config of a training.

    Raises:
        UsageError: a backbone has frozen stages, and neither itself, nor the model, nor
            ``load_from`` names weights.
    """
    if cfg.get('load_from') or starting_weights(dict(init_cfg=cfg.model.get('init_cfg'))):
        return
    for path, backbone in _with_frozen_stages('model', cfg.model):
        if not starting_weights(backbone):
            raise UsageError(
                f'{path} freezes its first stages (frozen_stages={backbone["frozen_stages"]}) at '
                'random weights. Set init_cfg to weights, or train all stages: '
                f'--cfg-options {path}.frozen_stages=-1 {path}.norm_eval=False'
            )


def _with_frozen_stages(path: str, value: Any) -> Iterator[tuple[str, dict]]:
    if not isinstance(value, dict):
        return
    frozen = value.get('frozen_stages')
    if type(frozen) is int and frozen >= 0:
        yield path, value
    for key, part in value.items():
        yield from _with_frozen_stages(f'{path}.{key}', part)
