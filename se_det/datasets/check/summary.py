"""A summary of a data set: images and their sizes, objects by class and size."""

from collections import Counter, defaultdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from se_det.datasets.check.problems import printable
from se_det.datasets.check.references import is_id
from se_det.datasets.check.sources import Source

SMALL, MEDIUM = 32**2, 96**2  # COCO's limits of area


def print_summary(coco: dict, source: Source, console: Console) -> None:
    """Print the numbers of a data set.

    Args:
        coco: the content of its annotation file; records in a wrong form are left out.
        source: where the data set is in the config.
        console: where to print.
    """
    images = {
        image['id']: image
        for image in coco['images']
        if isinstance(image, dict) and type(image.get('id')) in (int, str)
    }
    annotations = [a for a in coco.get('annotations', []) if _is_countable(a)]
    with_objects = {annotation['image_id'] for annotation in annotations}
    without = len(images) - len(with_objects & images.keys())
    dropped = ''
    if without:
        drops = (source.dataset.get('filter_cfg') or {}).get('filter_empty_gt', False)
        drops = drops and source.split == 'train'
        dropped = ', which the config leaves out' if drops else ', which the config uses'
    console.print(
        f'{source.where}: {source.ann_file}\n'
        f'  {len(images)} images, {without} of them without objects{dropped}; {_sizes(images)}',
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(_table(coco, annotations, source))


def _is_countable(annotation: object) -> bool:
    return (
        isinstance(annotation, dict)
        and type(annotation.get('area')) in (int, float)
        and type(annotation.get('image_id')) in (int, str)
        and type(annotation.get('category_id')) is int
    )


def _sizes(images: dict) -> str:
    sizes = Counter(f'{image.get("width")}x{image.get("height")}' for image in images.values())
    most = ', '.join(f'{size} ({count})' for size, count in sizes.most_common(3))
    return f'{len(sizes)} sizes: {most}{", ..." if len(sizes) > 3 else ""}'


def _table(coco: dict, annotations: list[dict], source: Source) -> Table:
    table = Table(box=None, pad_edge=True)
    table.add_column('class')
    for name in ('objects', 'small', 'medium', 'large', 'crowds', 'images'):
        table.add_column(name, justify='right')
    counts: dict[int, Counter] = defaultdict(Counter)
    images: dict[int, set] = defaultdict(set)
    for annotation in annotations:
        size = 'crowds' if annotation.get('iscrowd') else _size(annotation['area'])
        counts[annotation['category_id']][size] += 1
        images[annotation['category_id']].add(annotation['image_id'])
    ids = [(c.get('name'), c.get('id')) for c in coco['categories'] if isinstance(c, dict)]
    classes = {(name, key): None for name, key in ids if name in source.classes and is_id(key)}
    for name, key in classes:
        own = counts[key]
        sizes = [own[size] for size in ('small', 'medium', 'large')]
        row = (sum(sizes), *sizes, own['crowds'], len(images[key]))
        table.add_row(Text(printable(name)), *map(str, row))
    return table


def _size(area: float) -> str:
    return 'small' if area < SMALL else 'medium' if area < MEDIUM else 'large'
