"""Repair the lists of categories and images: what is there twice, ids, file names, sizes."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from se_det.datasets.check.form import check_categories, check_images, is_coordinate, is_integer
from se_det.datasets.check.problems import Problems, Repairs
from se_det.datasets.check.references import References, as_number, is_id, unused

FILE_SIZE = 'file-size'


@dataclass
class ImageFiles:
    """What a repair needs of the image files, all by their names in the annotations.

    Attributes:
        paths: where files are that are not at their name.
        sizes: width and height, None for files that cannot be read.
        turned: files that OpenCV turns, as their EXIF data say.
    """

    paths: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    turned: set[str] = field(default_factory=set)


def repair_categories(coco: dict, done: Repairs) -> tuple[References, dict[int, str]]:
    """Repair the categories of a file, in place.

    Args:
        coco: the content of the file.
        done: what is done is noted here.

    Returns:
        What ids in the file refer to, and the names of the categories by their new ids.
    """
    references, by_id, by_name = References(), {}, {}
    for index, category in enumerate(coco['categories']):
        key, name = _values(category, 'id', 'name')
        if not is_id(key) or not isinstance(name, str) or not name:
            done.left_out.error('categories without id or name', f'categories[{index}]', category)
            continue
        first = by_id.setdefault(key, category)
        same = by_name.setdefault(name, category)
        above = {str(c.get('supercategory') or 'none') for c in (same, category)} - {'none'}
        if first['name'] != name:
            both = f'{key!r} is {first["name"]!r} or {name!r}'
            done.unclear.error('the id of a category has two readings', both)
        elif len(above) > 1:
            both = f'{name!r} of {" or of ".join(sorted(above))}'
            done.unclear.error('the name of a category has two readings', both)
        elif same is not category:
            done.changes['categories that were there twice merged'] += 1
        references.add(key, same, name)
    coco['categories'] = list(by_name.values())
    _number(coco['categories'], 'category', done)
    return references, check_categories(coco['categories'], Problems())


def repair_images(
    coco: dict, annotations: list[dict], files: ImageFiles, done: Repairs
) -> tuple[References, dict[int | str, dict]]:
    """Repair the images of a file, in place.

    Args:
        coco: the content of the file.
        annotations: its annotations.
        files: what is known of the image files.
        done: what is done is noted here.

    Returns:
        What ids in the file refer to, and the images that are left by their new ids.
    """
    by_id: dict[Any, dict[str, dict]] = defaultdict(dict)
    unreadable = set()
    for index, image in enumerate(coco['images']):
        key, name = _values(image, 'id', 'file_name')
        if not is_id(key) or not isinstance(name, str):
            done.left_out.error('images without id or file_name', f'images[{index}]', image)
            continue
        if name in files.paths:
            image['file_name'] = files.paths[name]
            done.changes['file names set to the path below the folder of images'] += 1
        known = by_id[key]
        if image['file_name'] in known:
            done.changes['images that were there twice merged'] += 1
            continue
        known[image['file_name']] = image
        if files.sizes.get(name, ()) is None:
            done.left_out.error('images whose file cannot be read', name)
            unreadable.add(id(image))
        _set_size(image, files.sizes.get(name), name in files.turned, done)
    references = References()
    for known in by_id.values():
        for image in known.values():
            references.add(image['id'], image, image['file_name'])
    used = {id(r) for a in annotations for r in references.find(a.get('image_id'))}
    for known in by_id.values():
        first, *others = known.values()
        if others and id(first) in used:
            both = f'{first["id"]!r} is {" or ".join(known)}'
            done.unclear.error('the id of an image has two readings', both)
        for image in others:  # without annotations: any number will do
            image['id'] = ''
    images = [image for known in by_id.values() for image in known.values()]
    _number(images, 'image', done)
    images = [image for image in images if id(image) not in unreadable]
    found = Problems()
    valid = check_images(images, found)
    for rule, group in found.errors.items():
        if images:
            done.left_out.errors[f'images: {rule}'] = group
    coco['images'] = list(valid.values())
    return references, valid


def as_coordinate(value: Any) -> float | None:
    """A number as it is, or written as text; None for what is none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if is_coordinate(value) else None


def _values(record: Any, *keys: str) -> list:
    return [record.get(key) if isinstance(record, dict) else None for key in keys]


def _number(records: list[dict], kind: str, done: Repairs) -> None:
    """Write ids as integers; those of images that are text, but no number, stay."""
    taken = {record['id'] for record in records if is_integer(record['id'])}
    numbers = unused(taken)
    for record in records:
        key = record['id']
        if is_integer(key) or (kind == 'image' and isinstance(key, str) and key):
            continue
        number = as_number(key)
        if not is_integer(number) or (number in taken and number != key):
            number = next(numbers)
        taken.add(number)
        record['id'] = number
        done.changes[f'{kind} ids written as integers'] += 1


def _set_size(image: dict, size: tuple[int, int] | None, is_turned: bool, done: Repairs) -> None:
    """Set the size to that of the file, unless boxes could be drawn on another picture."""
    found = image.get('width'), image.get('height')
    said = tuple(map(as_coordinate, found))
    if size is None or said == tuple(size):
        if None not in said and said != found:
            image['width'], image['height'] = said
            done.changes['image sizes written as numbers'] += 1
        return
    image['width'], image['height'] = width, height = size
    done.changes["image sizes set to the files'"] += 1
    if None in said or min(said) <= 0 or FILE_SIZE in done.choices:
        return
    both = f'{image["file_name"]} is {width}x{height}, the annotations say {said[0]:g}x{said[1]:g}'
    if is_turned and said == (height, width):
        rule = (
            'boxes are of the image as OpenCV turns it (its EXIF data say so), or of the image '
            f'before that: choose with --read-as {FILE_SIZE}, or with '
            "color_type='color_ignore_orientation' in the config's LoadImageFromFile"
        )
    elif abs(said[0] * height - said[1] * width) <= max(*said, *size):
        rule = (
            'boxes are of the size of the file, or of the size before the file was resized: '
            f'choose with --read-as {FILE_SIZE}, or bring the original files'
        )
    else:
        return
    done.unclear.error(rule, both)
