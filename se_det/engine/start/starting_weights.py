"""The weights that a model's config starts from."""

from typing import Any


def starting_weights(part: Any) -> set[str]:
    """The files, URLs and names that ``init_cfg`` and ``pretrained`` have, anywhere in a config."""
    if isinstance(part, list | tuple):
        return {name for inner in part for name in starting_weights(inner)}
    if not isinstance(part, dict):
        return set()
    found = {name for inner in part.values() for name in starting_weights(inner)}
    if 'Pretrained' in str(part.get('type')) and 'checkpoint' in part:
        found.add(part['checkpoint'])
    if isinstance(part.get('pretrained'), str):
        found.add(part['pretrained'])
    return found
