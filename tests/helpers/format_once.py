"""mmengine formats the same config six times a run, half a second each: in tests, once."""

from mmengine.config import config


def format_once() -> None:
    """Keep what yapf made of a text."""
    format_code, known = config.FormatCode, {}

    def formatted(text: str, **options) -> tuple:
        if text not in known:
            known[text] = format_code(text, **options)
        return known[text]

    config.FormatCode = formatted
