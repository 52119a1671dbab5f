"""The form of the records in an annotation file: keys, types, and ids that refer to others."""

import difflib
from typing import Any

from se_det.datasets.check.problems import Problems

LARGEST = 1e7  # no pixel coordinate is larger; comparing also rules out NaN and infinity
LARGEST_ID = 2**53  # evaluation keeps ids as float64
NUMBERS = (int, float)

# Keys that MMDetection reads if they are there: a misspelled one changes the data unnoticed.
OPTIONAL_KEYS = ('iscrowd', 'ignore', 'segmentation')


def check_categories(categories: list, problems: Problems) -> dict[int, str]:
    """Check the categories.

    Args:
        categories: the list in the file.
        problems: what is wrong is added here.

    Returns:
        The names of the categories in the right form, by id.
    """
    names: dict[int, str] = {}
    for index, category in enumerate(categories):
        record = f'categories[{index}]'
        if not isinstance(category, dict):
            problems.error('a category must be a dict with id and name', record, category)
        elif not is_integer(category.get('id')):
            problems.error('the id of a category must be an integer', record, category.get('id'))
        elif not (isinstance(category.get('name'), str) and category['name']):
            problems.error('the name of a category must be text', record, category)
        elif category['id'] in names:
            problems.error('the ids of categories must be unique', record, category['id'])
        elif category['name'] in names.values():
            problems.error('the names of categories must be unique', record, category['name'])
        else:
            names[category['id']] = category['name']
    if not categories:
        problems.error('categories must not be empty')
    return names


def check_images(images: list, problems: Problems, has_files: bool = True) -> dict[int | str, dict]:
    """Check the images' records.

    Args:
        images: the list in the file.
        problems: what is wrong is added here.
        has_files: whether each must have a ``file_name``.

    Returns:
        The records in the right form, by id.
    """
    valid: dict[int | str, dict] = {}
    files: set[str] = set()
    for index, image in enumerate(images):
        record = f'images[{index}]'
        if not isinstance(image, dict):
            problems.error('an image must be a dict with id, file_name, width, height', record)
        elif not (is_integer(image.get('id')) or isinstance(image.get('id'), str)):
            problems.error('the id of an image must be an integer', record, image.get('id'))
        elif image['id'] in valid:
            problems.error('the ids of images must be unique', record, image['id'])
        elif has_files and not _is_file_name(image.get('file_name')):
            problems.error('file_name must be a path', record, image.get('file_name'))
        elif not (_is_size(image.get('width')) and _is_size(image.get('height'))):
            found = [image.get('width'), image.get('height')]
            problems.error(
                'width and height of an image must be positive integers',
                f'{image.get("file_name", "an image")} (id {image["id"]})',
                found,
            )
        else:
            valid[image['id']] = image
            if has_files:
                if image['file_name'] in files:
                    problems.notes['images have the same file as another'] += 1
                files.add(image['file_name'])
    if not images:
        problems.error('images must not be empty')
    return valid


def check_annotations(
    annotations: list, images: dict[int | str, dict], names: dict[int, str], problems: Problems
) -> list[dict]:
    """Check the annotations' records.

    Args:
        annotations: the list in the file.
        images: the images by id.
        names: the categories' names by id.
        problems: what is wrong is added here.

    Returns:
        The annotations in the right form, whose image and category are known.
    """
    valid, ids = [], set()
    for index, annotation in enumerate(annotations):
        fault = _fault(annotation, ids, images, names)
        if fault is None:
            ids.add(annotation['id'])
            valid.append(annotation)
        else:
            record, (rule, found) = f'annotations[{index}]', fault
            if isinstance(annotation, dict) and is_integer(annotation.get('id')):
                record = f'annotation {annotation["id"]}'
            problems.error(rule, record, found)
    keys = set().union(*valid) if valid else set()
    for key in OPTIONAL_KEYS:
        for similar in difflib.get_close_matches(key, keys - {key}, n=1, cutoff=0.75):
            count = sum(similar in annotation and key not in annotation for annotation in valid)
            if count:
                problems.error(f'key {similar!r} looks like a misspelled {key!r}', f'{count} times')
    return valid


def _fault(
    annotation: Any, ids: set, images: dict[int | str, dict], names: dict[int, str]
) -> tuple[str, Any] | None:
    """The rule that an annotation breaks, and what was found."""
    if type(annotation) is not dict:
        return 'an annotation must be a dict', annotation
    get = annotation.get
    if not is_integer(get('id')):
        return 'the id of an annotation must be an integer', get('id')
    if annotation['id'] in ids:
        return 'the ids of annotations must be unique', annotation['id']
    if type(get('image_id')) not in (int, str) or annotation['image_id'] not in images:
        return 'image_id must be the id of an image in the file', get('image_id')
    if type(get('category_id')) is not int or annotation['category_id'] not in names:
        return f'category_id must be one of {_range(names)}', get('category_id')
    box = get('bbox')
    if type(box) is not list or len(box) != 4 or not all(map(is_coordinate, box)):
        return 'bbox must be four finite numbers [x, y, width, height]', box
    if not is_coordinate(get('area'), largest=LARGEST**2):
        return 'area must be a finite number', get('area')
    for key in ('iscrowd', 'ignore'):
        if get(key, 0) not in (0, 1):
            return f'{key} must be 0 or 1', annotation[key]
    return None


def is_integer(value: Any) -> bool:
    """Whether a value is an integer that can be an id."""
    return type(value) is int and -LARGEST_ID < value < LARGEST_ID


def is_coordinate(value: Any, largest: float = LARGEST) -> bool:
    """Whether a value is a number as a coordinate in pixels can be."""
    return type(value) in NUMBERS and -largest < value < largest


def _is_size(value: Any) -> bool:
    return type(value) in NUMBERS and 0 < value < LARGEST and value == int(value)


def _is_file_name(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != '' and '\0' not in value


def _range(names: dict[int, str]) -> str:
    ids = sorted(names)
    if len(ids) > 2 and ids[-1] - ids[0] == len(ids) - 1:
        return f'the categories {ids[0]} to {ids[-1]}'
    shown = ', '.join(map(str, ids[:8])) or 'none'
    return f'the categories {shown}{", ..." if len(ids) > 8 else ""}'
