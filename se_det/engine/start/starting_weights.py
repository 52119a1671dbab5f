"""The weights that a model's config starts from."""

from typing import Any

from se_det.config_files import dicts_in


def starting_weights(part: Any) -> set[str]:
    """The files, URLs and names that ``init_cfg`` and ``pretrained`` have, anywhere in a config."""
    found = set()
    for _, cfg in dicts_in(part):
        if 'Pretrained' in str(cfg.get('type')) and 'checkpoint' in cfg:
            found.add(cfg['checkpoint'])
        if isinstance(cfg.get('pretrained'), str):
            found.add(cfg['pretrained'])
    return found
