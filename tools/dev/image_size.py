"""The size of an image, as an argument of a command."""

import argparse


def height_and_width(text: str) -> tuple[int, int]:
    """Parse an image size like ``800x1344``."""
    height, separator, width = text.partition('x')
    if not (separator and height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f'{text}: a size is a height and a width, like 800x1344')
    return int(height), int(width)
