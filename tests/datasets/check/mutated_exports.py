"""Annotation files in the shapes that tools write, with mutations of keys, values and structures.

`mutated_export` makes one of a seed, in a fraction of a millisecond. Its images have the names and
sizes of the small data set in conftest.py, so that they can be trained on.
"""

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pycocotools import mask as coco_mask

CLASSES = ('red cell', 'white cell', 'platelet')
SIZES = [(80 + 8 * index, 64) for index in range(6)]
SURROGATE = 'caf\udce9'  # what Python makes of a file name in Latin-1
ODD = [
    None, True, False, 0, 1, -1, 7, 0.5, 2.0, 1e308, math.nan, math.inf, 2**53, 2**64 + 5, 10**400,
    -(10**20), '', 'x', '7', '2013-11-14 17:02:52', SURROGATE, '\ud800', [], {}, [[]], [None], [1],
    [math.nan], {'id': 1}, [[[0.5]]], 'a' * 3000,
]  # fmt: skip
EXTRA = dict(
    images=(
        *('license', 'date_captured', 'coco_url', 'flickr_url', 'neg_category_ids'),
        *('not_exhaustive_category_ids', 'attributes', 'depth_file_name', 'path', 'metadata'),
    ),
    annotations=(
        *('keypoints', 'num_keypoints', 'score', 'obb', 'attributes', 'caption', 'isbbox', 'color'),
        *('track_id', 'confidence', 'segments_info', 'ignore_reason', 'metadata', 'rotation'),
    ),
    categories=(
        *('supercategory', 'keypoints', 'skeleton', 'isthing', 'frequency', 'synset', 'synonyms'),
        *('def', 'image_count', 'instance_count', 'color', 'metadata'),
    ),
)


@dataclass
class MutatedExport:
    """An annotation file.

    Attributes:
        tool: whose export it started as: coco, cvat, datumaro, lvis or label studio.
        content: that of the file; with no mutation, a valid one.
        mutations: what was changed, in order; the functions' names.
    """

    tool: str
    content: Any
    mutations: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The file, as Python's json writes it: NaN and lone surrogates included."""
        return json.dumps(self.content)


def mutated_export(seed: int, most: int = 3) -> MutatedExport:
    """Make an export and mutate it.

    Args:
        seed: of all that is random.
        most: mutations at most; there may be none.
    """
    rng = random.Random(seed)
    tool = rng.choice(list(TOOLS))
    export = MutatedExport(tool, _plain(rng))
    TOOLS[tool](export.content, rng)
    for mutation in rng.choices(MUTATIONS, k=rng.randint(0, most)):
        try:
            mutation(export.content, rng)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            continue  # an earlier mutation has taken what this one changes
        export.mutations.append(mutation.__name__.strip('_'))
    return export


def _plain(rng: random.Random) -> dict:
    """Six images, up to four objects in each, with polygons, run lengths and crowds."""
    images = [
        dict(id=index + 1, file_name=f'{index}.png', width=width, height=height)
        for index, (width, height) in enumerate(SIZES)
    ]
    annotations = []
    for image in images:
        for _ in range(rng.randint(0, 4)):
            x, y = rng.randint(0, 30), rng.randint(0, 30)
            w, h = rng.randint(8, 30), rng.randint(8, 30)
            corners = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            annotation = dict(
                id=len(annotations) + 1,
                image_id=image['id'],
                category_id=rng.randint(1, 3),
                bbox=[float(x), float(y), float(w), float(h)],
                area=float(w * h),
                iscrowd=0,
                segmentation=corners,
            )
            if rng.random() < 0.2:
                runs = coco_mask.merge(
                    coco_mask.frPyObjects(corners, image['height'], image['width'])
                )
                annotation.update(
                    iscrowd=1, segmentation={**runs, 'counts': runs['counts'].decode()}
                )
            annotations.append(annotation)
    categories = [dict(id=number, name=name) for number, name in enumerate(CLASSES, 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def _coco(content: dict, rng: random.Random) -> None:
    content.update(info=dict(year=2017), licenses=[dict(id=1, name='', url='')])
    for image in content['images']:
        image.update(license=1, date_captured='2013-11-14 17:02:52', flickr_url='', coco_url='')
    for category in content['categories']:
        category['supercategory'] = 'cell'


def _cvat(content: dict, rng: random.Random) -> None:
    content.update(info=dict(date_created='', year=''), licenses=[dict(id=0, name='', url='')])
    for image in content['images']:
        image.update(license=0, date_captured=0, flickr_url='', coco_url='')
    for annotation in content['annotations']:
        annotation['attributes'] = dict(occluded=False, rotation=0.0)
    for category in content['categories']:
        category['supercategory'] = ''


def _datumaro(content: dict, rng: random.Random) -> None:
    _cvat(content, rng)
    for annotation in content['annotations']:
        annotation['segmentation'] = []
        annotation.update(iscrowd=0, attributes=dict(keyframe=True, score=rng.random()))
        if rng.random() < 0.3:
            annotation.update(keypoints=[1.5, 2.5, 2], num_keypoints=1, score=None)


def _lvis(content: dict, rng: random.Random) -> None:
    for image in content['images']:
        image.update(neg_category_ids=[1], not_exhaustive_category_ids=[])
        image.update(coco_url='', date_captured=None)
    for annotation in content['annotations']:
        del annotation['iscrowd']
    for category in content['categories']:
        category.update(frequency='r', synset='cell.n.01', synonyms=[category['name']])
        category['def'] = 'a cell'
        category['image_count'] = 3


def _label_studio(content: dict, rng: random.Random) -> None:
    content['info'] = dict(contributor='Label Studio', version='1.0')
    for image in content['images']:
        image['id'] -= 1
    for annotation in content['annotations']:
        annotation['id'] -= 1
        annotation['image_id'] -= 1
        annotation['category_id'] -= 1
        annotation['ignore'] = 0
    for category in content['categories']:
        category['id'] -= 1


TOOLS = dict(coco=_coco, cvat=_cvat, datumaro=_datumaro, lvis=_lvis)
TOOLS['label studio'] = _label_studio


def _some(records: list, rng: random.Random) -> list:
    """All records, or one of them."""
    return records if rng.random() < 0.5 else [rng.choice(records)]


def _extra_key(content: dict, rng: random.Random) -> None:
    """A key that training does not read, with an odd value."""
    kind = rng.choice(list(EXTRA))
    key, value = rng.choice(EXTRA[kind]), rng.choice(ODD)
    for record in _some(content[kind], rng):
        record[key] = deepcopy(value)


def _head(content: dict, rng: random.Random) -> None:
    content[rng.choice(['info', 'licenses', 'type', 'videos', 'note'])] = deepcopy(rng.choice(ODD))


def _ids(content: dict, rng: random.Random) -> None:
    """Other ids of images, categories or annotations, in all places that refer to them."""
    kind = rng.choice(['images', 'categories', 'annotations'])
    start = rng.choice([0, -7, 100, 2**31, 2**53 - 20, 2**63 - 2, 2**63 + 5, 10**20])
    form = rng.choice([None, None, str, 'img_{}'.format, f'{SURROGATE}{{}}'.format, float])
    ids = [record['id'] for record in content[kind]]
    new = [start + number for number in range(len(ids))]
    if rng.random() < 0.3:
        rng.shuffle(new)
    are_mixed = rng.random() < 0.2
    if form:
        new = [form(key) if not are_mixed or rng.random() < 0.5 else key for key in new]
    changed = dict(zip(ids, new, strict=True))
    for record in content[kind]:
        record['id'] = changed[record['id']]
    key = dict(images='image_id', categories='category_id').get(kind)
    for annotation in content['annotations'] if key else ():
        annotation[key] = changed[annotation[key]]


def _crowd_or_area(content: dict, rng: random.Random) -> None:
    key = rng.choice(['iscrowd', 'iscrowd', 'area', 'ignore'])
    value = rng.choice([None, *ODD, *([0, 1, True, 1.0] * 4)])
    is_left_out = rng.random() < 0.4
    for annotation in _some(content['annotations'], rng):
        if is_left_out:
            annotation.pop(key, None)
        else:
            annotation[key] = value


def _box(content: dict, rng: random.Random) -> None:
    for annotation in _some(content['annotations'], rng):
        box = annotation['bbox']
        rng.choice(
            [
                lambda box=box: box.__setitem__(rng.randrange(4), deepcopy(rng.choice(ODD))),
                lambda box=box: box.__setitem__(slice(None), [int(side) for side in box]),
                lambda box=box: box.__setitem__(slice(None), [str(side) for side in box]),
                lambda box=box: box.append(0.9),
                lambda box=box: box.__setitem__(2, 0),
            ]
        )()


def _segmentation(content: dict, rng: random.Random) -> None:
    values = [
        *ODD,
        [[1, 2]],
        [[1, 2, 3, 4, 5]],
        [[math.nan] * 6],
        [['1'] * 6],
        [[1, 1, 9, 1, 9, 9]],
    ]
    values += [dict(size=[64, 80], counts=[100, 20, 5000]), dict(size=[64, 80], counts='PP')]
    values += [dict(size=[80, 64], counts=[5120]), dict(counts=[]), dict(size=None, counts=None)]
    value, is_left_out = rng.choice(values), rng.random() < 0.2
    for annotation in _some(content['annotations'], rng):
        if is_left_out:
            annotation.pop('segmentation', None)
        else:
            annotation['segmentation'] = deepcopy(value)


def _name(content: dict, rng: random.Random) -> None:
    value = rng.choice([SURROGATE, '\ud800', 'zażółć', '细胞', 'a\nb', ' ', 'x' * 500, "it's"])
    kind = rng.choice(['images', 'categories'])
    key = 'file_name' if kind == 'images' else 'name'
    for number, record in enumerate(_some(content[kind], rng)):
        record[key] = f'{value}{number or ""}'


def _size(content: dict, rng: random.Random) -> None:
    value = rng.choice([float, str, int, lambda side: side + 0.5, lambda side: None])
    for image in _some(content['images'], rng):
        image['width'], image['height'] = value(image['width']), value(image['height'])


def _structure(content: dict, rng: random.Random) -> None:
    """Records or lists that are missing, twice there, in another order or of another type."""
    kind = rng.choice(['images', 'annotations', 'annotations', 'categories'])
    records = content[kind]
    rng.choice(
        [
            lambda: records.append(deepcopy(rng.choice(records))),
            lambda: records.pop(rng.randrange(len(records))),
            lambda: records.reverse(),
            lambda: rng.shuffle(records),
            lambda: records.insert(0, deepcopy(rng.choice(ODD))),
            lambda: content.__setitem__(kind, {str(n): record for n, record in enumerate(records)}),
            lambda: content.__setitem__(kind, rng.choice([None, [], 'x'])),
            lambda: content.pop(kind),
        ]
    )()


def _anything(content: dict, rng: random.Random) -> None:
    """A value anywhere becomes an odd one, or is left out."""
    owner, key = rng.choice(list(_places(content)))
    if rng.random() < 0.3:
        del owner[key]
    else:
        owner[key] = deepcopy(rng.choice(ODD))


def _places(value: Any):
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


MUTATIONS = [
    *(_extra_key, _extra_key, _extra_key, _head, _ids, _ids, _crowd_or_area, _box, _segmentation),
    *(_name, _size, _structure, _anything),
]


def check_many(seeds: Sequence[int], check: Callable[[int], str], usual: str) -> None:
    """Check the export of each seed; ``check`` returns what became of it, ``usual`` of many."""
    outcomes, failures = Counter(), []
    for seed in seeds:
        try:
            outcomes[check(seed)] += 1
        except Exception as error:
            export = mutated_export(seed)
            failures.append(f'seed {seed}, {export.tool} {export.mutations}: {error!r:.300}')
    shown = '\n'.join(failures[:20])
    assert not failures, f'{len(failures)} of {len(seeds)} files fail:\n{shown}'
    assert outcomes[usual] > len(seeds) / 4
    print(len(seeds), 'files:', dict(outcomes))
