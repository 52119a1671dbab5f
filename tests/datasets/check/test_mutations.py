"""Mutated annotation files: an error, or training sees each box that a strict reading finds."""

import json
import random
from collections import Counter

import pytest
from mmdet.datasets import CocoDataset

from se_det.engine.start.data import check_data
from se_det.errors import UsageError

from .mutated_exports import CLASSES, SIZES, mutated_export


def _damaged(text, rng):
    """Damage to the text itself."""
    text = bytearray(text.encode())
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
            if kind != 'png' or (image['width'], image['height']) != SIZES[int(stem)]:
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


def _corners(x, y, w, h):
    return round(x, 6), round(y, 6), round(x + w, 6), round(y + h, 6)


@pytest.mark.parametrize('count', [200, pytest.param(10_000, marks=pytest.mark.long)])
def test_mutated_files(count, cells, config, log):
    cfg, outcomes = config(), Counter()
    for seed in range(count):
        export, rng = mutated_export(seed), random.Random(seed)
        content = _damaged(export.text, rng) if seed % 2 else export.text.encode()
        (cells / 'train.json').write_bytes(content)
        log.clear()
        try:
            check_data(cfg, ('train',))
        except UsageError as error:
            assert 'Traceback' not in str(error)
            assert len(str(error)) < 5000, seed
            outcomes['refused'] += 1
            continue
        expected = strict_reading(content)
        assert expected is not None, f'seed {seed}: something is wrong, and it was not refused'
        expected = Counter((f, c, *_corners(*box), crowd) for f, c, *box, crowd in expected)
        found = Counter(_trained_on())
        assert found <= expected, f'seed {seed}'
        noted = [int(t.split(': ')[1].split()[0]) for t in log if 'left out by MMDetection' in t]
        assert (expected - found).total() == sum(noted), f'seed {seed}: boxes silently left out'
        outcomes['accepted'] += 1
    print(count, 'files:', dict(outcomes))
    assert min(outcomes.values()) > count / 5, outcomes
