"""The weights that a model starts from; frozen stages need them."""

from typing import Any

from mmengine.config import Config

from se_det.config_files import dicts_in
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
    for path, backbone in dicts_in(cfg.model, 'model'):
        frozen = backbone.get('frozen_stages')
        if type(frozen) is int and frozen >= 0 and not starting_weights(backbone):
            raise UsageError(
                f'{path} freezes its first stages (frozen_stages={frozen}) at '
                'random weights. Set init_cfg to weights, or train all stages: '
                f'--cfg-options {path}.frozen_stages=-1 {path}.norm_eval=False'
            )


def starting_weights(part: Any) -> set[str]:
    """The files, URLs and names that ``init_cfg`` and ``pretrained`` have, anywhere in a config."""
    found = set()
    for _, cfg in dicts_in(part):
        if 'Pretrained' in str(cfg.get('type')) and 'checkpoint' in cfg:
            found.add(cfg['checkpoint'])
        if isinstance(cfg.get('pretrained'), str):
            found.add(cfg['pretrained'])
    return found
