"""Mutated annotation files: an error, or training sees each box that a strict reading finds."""

import json
import math
import random
import time
from collections import Counter
from copy import deepcopy

import pytest
from mmdet.datasets import CocoDataset

from se_det.engine.start.data import check_data
from se_det.errors import UsageError

FILES = {image: (80 + 8 * image, 64) for image in range(6)}
CLASSES = ('red cell', 'white cell', 'platelet')
ODD_VALUES = [
    None, True, 'x', '', '7', [], {}, [1], math.nan, math.inf, -math.inf, -1, 0, 0.5, 1e308,
    10**400, -(10**20), 2.0, [[[]]], {'id': 1},
]  # fmt: skip


def _bytes(coco, rng):
    """Damage to the text itself."""
    text = bytearray(json.dumps(coco).encode())
    for _ in range(rng.choice([1, 1, 1, 3, 10])):
        if not text:
            break
        start = rng.randrange(len(text))
        length = rng.choice([1, 2, 8, 60])
        kind = rng.choice(['flip', 'delete', 'insert', 'repeat', 'digit', 'cut off'])
        if kind == 'flip':
            text[start] ^= 1 << rng.randrange(8)
        elif kind == 'delete':
            del text[start : start + length]
        elif kind == 'insert':
            text[start:start] = rng.randbytes(length)
        elif kind == 'repeat':
            text[start:start] = text[start : start + length]
        elif kind == 'digit':
            digits = [i for i, byte in enumerate(text) if chr(byte).isdigit()]
            text[rng.choice(digits or [start])] = ord(rng.choice('0123456789.-e'))
        elif rng.random() < 0.2:
            del text[start:]
    return bytes(text)


def _places(value, path=()):
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from _places(value[key], (*path, key))


def _value(coco, rng):
    """A value of another type or size, or a key or element that is missing."""
    *path, last = rng.choice(list(_places(coco)))
    owner = coco
    for key in path:
        owner = owner[key]
    if rng.random() < 0.2:
        del owner[last]
    else:
        owner[last] = deepcopy(rng.choice(ODD_VALUES))
    return json.dumps(coco).encode()


def _box(coco, rng):
    """Boxes of another meaning; all of these must be refused."""
    chosen = coco['annotations'] if rng.random() < 0.3 else rng.sample(coco['annotations'], 1)
    kind = rng.choice(['xyxy', 'normalised', 'negative', 'nan', 'outside', 'area'])
    for annotation in chosen:
        x, y, w, h = annotation['bbox']
        width, height = FILES[annotation['image_id'] - 11]
        if kind == 'xyxy':
            annotation['bbox'] = [x, y, x + w, y + h]
        elif kind == 'normalised':
            annotation['bbox'] = [x / width, y / height, w / width, h / height]
        elif kind == 'negative':
            annotation['bbox'][rng.choice([2, 3])] *= -1
        elif kind == 'nan':
            annotation['bbox'][rng.randrange(4)] = rng.choice([math.nan, math.inf, None, 'x'])
        elif kind == 'outside':
            annotation['bbox'][rng.randrange(2)] += rng.choice([-1, 1]) * rng.randint(120, 10**6)
        else:
            annotation['area'] = rng.choice([0, -1, math.nan, 10**6])
    return json.dumps(coco).encode()


def _ids(coco, rng):
    """Ids that refer to nothing, or twice to the same; all of these must be refused."""
    kind = rng.choice(['category', 'image', 'from 0', 'twice', 'image twice', 'order', 'size'])
    annotation, image = rng.choice(coco['annotations']), rng.choice(coco['images'])
    if kind == 'category':
        annotation['category_id'] = rng.choice([0, 4, -1, 10**9])
    elif kind == 'image':
        annotation['image_id'] = rng.choice([0, 17, -1, '11', 10**9])
    elif kind == 'from 0':
        for annotation in coco['annotations']:
            annotation['category_id'] -= 1
    elif kind == 'twice':
        coco['annotations'].append(deepcopy(annotation))
    elif kind == 'image twice':
        coco['images'].append({**image, 'file_name': rng.choice(['0.png', 'other.png'])})
    elif kind == 'order':
        coco['categories'].reverse()
    else:
        image['width'], image['height'] = rng.choice(
            [(image['height'], image['width']), (9, 9), (500, 500), (image['width'] + 1, 64)]
        )
    return json.dumps(coco).encode()


MUTATIONS = {'bytes': _bytes, 'value': _value, 'box': _box, 'ids': _ids}
MUST_BE_REFUSED = ('box', 'ids')


def _number(value):
    return type(value) in (int, float) and abs(value) < 1e9


def strict_reading(content):
    """Each box of a file as (file, class, x, y, w, h, crowd), or None if anything is wrong."""
    try:
        coco = json.loads(content)
        names = {c['id']: c['name'] for c in coco['categories']}
        images = {i['id']: i for i in coco['images']}
        annotations = coco['annotations']
        unique = len(names) == len(coco['categories']) and len(images) == len(coco['images'])
        if not unique or len({a['id'] for a in annotations}) < len(annotations):
            return None
        if tuple(names.values()) != CLASSES or not annotations:
            return None
        for image in images.values():
            stem, _, kind = image['file_name'].rpartition('.')
            if kind != 'png' or (image['width'], image['height']) != FILES[int(stem)]:
                return None
        boxes = []
        for annotation in annotations:
            image, (x, y, w, h) = images[annotation['image_id']], annotation['bbox']
            crowd, area = annotation.get('iscrowd', 0), annotation['area']
            if crowd not in (0, 1) or not all(map(_number, (x, y, w, h, area))):
                return None
            inside = min(x, y) >= -2 and x + w <= image['width'] + 2 and y + h <= 66
            if not inside or min(w, h) < 0 or (area <= 0 and min(w, h) >= 1):
                return None
            name = names[annotation['category_id']]
            boxes.append((image['file_name'], name, x, y, w, h, int(crowd)))
        return boxes
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _trained_on():
    """The boxes that MMDetection trains on, as in `strict_reading`."""
    metainfo = dict(classes=CLASSES)
    arguments = dict(data_root='cells/', ann_file='train.json', metainfo=metainfo)
    dataset = CocoDataset(**arguments, data_prefix=dict(img=''), serialize_data=False)
    for record in dataset.data_list:
        for instance in record['instances']:
            x1, y1, x2, y2 = instance['bbox']
            file_name = record['img_path'].rpartition('/')[2]
            box = (round(x1, 6), round(y1, 6), round(x2, 6), round(y2, 6))
            yield file_name, CLASSES[instance['bbox_label']], *box, instance['ignore_flag']


def _check_mutations(count, cells, config, coco, log):
    cfg, outcomes = config(), Counter()
    for seed in range(count):
        rng = random.Random(seed)
        kind = rng.choice(list(MUTATIONS))
        content = MUTATIONS[kind](deepcopy(coco), rng)
        (cells / 'train.json').write_bytes(content)
        log.clear()
        start = time.perf_counter()
        try:
            check_data(cfg, ('train',))
        except UsageError as error:
            assert 'Traceback' not in str(error)
            assert len(str(error)) < 5000, seed
            outcomes[kind, 'refused'] += 1
        else:
            assert kind not in MUST_BE_REFUSED, f'seed {seed}: {kind} was not refused'
            expected = strict_reading(content)
            assert expected is not None, f'seed {seed}: something is wrong, and it was not refused'
            found = Counter(_trained_on())
            expected = Counter(
                (f, c, round(x, 6), round(y, 6), round(x + w, 6), round(y + h, 6), crowd)
                for f, c, x, y, w, h, crowd in expected
            )
            assert found <= expected, f'seed {seed}'
            noted = [
                int(t.split(': ')[1].split()[0]) for t in log if 'left out by MMDetection' in t
            ]
            assert (expected - found).total() == sum(noted), f'seed {seed}: boxes silently left out'
            original = Counter(_boxes_of(coco))
            same = 'same data' if expected == original else 'another plausible value'
            outcomes[kind, f'accepted, {same}'] += 1
        assert time.perf_counter() - start < 20, f'seed {seed} hangs'
    assert sum(n for (_, what), n in outcomes.items() if what == 'refused') > count / 2
    assert outcomes['bytes', 'accepted, same data'] + outcomes['value', 'accepted, same data'] > 0
    print(count, 'files:', dict(sorted(outcomes.items())))


def _boxes_of(coco):
    for f, c, x, y, w, h, crowd in strict_reading(json.dumps(coco)):
        yield f, c, round(x, 6), round(y, 6), round(x + w, 6), round(y + h, 6), crowd


def test_300_mutated_files(cells, config, coco, log):
    _check_mutations(300, cells, config, coco, log)


@pytest.mark.long
def test_10000_mutated_files(cells, config, coco, log):
    _check_mutations(10_000, cells, config, coco, log)
