"""What mmengine does for each config that is read takes half a second: in tests, once."""

from functools import cache

from mmengine.config import config, utils


def format_once() -> None:
    """Keep what yapf made of a text, and MMDetection's list of configs, which is in YAML files."""
    format_code, known = config.FormatCode, {}

    def formatted(text: str, **options) -> tuple:
        if text not in known:
            known[text] = format_code(text, **options)
        return known[text]

    config.FormatCode = formatted
    utils.load = cache(utils.load)
