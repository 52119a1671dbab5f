"""Images that belong together: frames of a video, tiles of a scene."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from se_det.errors import UsageError


def group_images(images: Sequence[dict], group_by: str, path: str | Path) -> np.ndarray:
    """Number the group of each image.

    Args:
        images: records of an annotation file.
        group_by: a key that the images have; or a regular expression that is searched in
            ``file_name``, whose groups in parentheses, or all that matches, name the image's group.
        path: the annotation file, for messages.

    Returns:
        From 0 on, (images,).

    Raises:
        UsageError: it is neither, an image has no group, or all have the same.
    """
    if any(group_by in image for image in images):
        names = [image.get(group_by) for image in images]
        names = [None if name is None else json.dumps(name, sort_keys=True) for name in names]
    else:
        names = _matches(images, group_by)
    numbered = {name: number for number, name in enumerate(dict.fromkeys(names))}
    if None in numbered or len(numbered) < 2:
        lacking = [image for image, name in zip(images, names, strict=True) if name is None]
        found = 'all images are in one group'
        if lacking:
            shown = lacking[0].get('file_name', lacking[0]['id'])
            found = f'{len(lacking)} of {len(images)} images have no group, first {shown!r}'
        keys = sorted({key for image in images for key in image})
        raise UsageError(
            f'Images are grouped by a key of theirs, or by a regular expression on file_name that '
            f'names the group, such as "^(.*)_": two groups or more. With {group_by!r}, {found}. '
            f'The images of {path} have the keys {", ".join(keys)}.'
        )
    return np.array([numbered[name] for name in names])


def _matches(images: Sequence[dict], expression: str) -> list[str | None]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UsageError(
            f'{expression!r} is no key of the images and no regular expression: {error}.'
        ) from error
    found = [pattern.search(str(image.get('file_name', ''))) for image in images]
    return [match and str(match.groups() or match[0]) for match in found]
