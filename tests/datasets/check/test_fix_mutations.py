"""--fix on mutated exports: each class stays, nothing certain is lost, what is offered trains."""

import io
import json
import math
import random
import re
import uuid
from collections import Counter
from copy import deepcopy

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from rich.console import Console

from se_det.datasets.check.facts import check_content
from se_det.datasets.check.full import check_dataset
from se_det.datasets.check.problems import Problems
from se_det.datasets.check.repair import repair
from se_det.datasets.check.repair_records import ImageFiles

CLASSES = ('red cell', 'white cell', 'platelet')
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs'),
]


def _refer(records, key, change):
    """Give records other ids; returns a function that changes what refers to them."""

    def mutate(coco, rng):
        made = {}
        for record in coco[records]:
            made[record['id']] = change(record['id'], rng)
            record['id'] = made[record['id']]
        for annotation in coco['annotations']:
            annotation[key] = made[annotation[key]]

    return mutate


def _each(change, share=1.0):
    """Change annotations."""

    def mutate(coco, rng):
        for annotation in coco['annotations']:
            if share == 1 or rng.random() < share:
                change(annotation, rng)

    return mutate


def _set(key, make, share=1.0):
    def change(annotation, rng):
        annotation[key] = make(annotation.get(key), rng)

    return _each(change, share)


def _drop(key, share=1.0):
    return _each(lambda annotation, rng: annotation.pop(key, None), share)


def _named(records, name):
    def mutate(coco, rng):
        names = {record['id']: record[name] for record in coco[records]}
        key = 'image_id' if records == 'images' else 'category_id'
        for annotation in coco['annotations']:
            annotation[key] = names[annotation[key]]

    return mutate


def _again(records):
    def mutate(coco, rng):
        copies = [deepcopy(r) for r in rng.choices(coco[records], k=rng.randint(1, 8))]
        coco[records][rng.randint(1, len(coco[records])) :] += copies

    return mutate


def _boxes(change, with_area):
    def mutate(coco, rng):
        sizes = {image['id']: (image['width'], image['height']) for image in coco['images']}
        for annotation in coco['annotations']:
            annotation['bbox'] = change(*annotation['bbox'], *sizes[annotation['image_id']])
            if not with_area:
                del annotation['area']

    return mutate


def _without_box(annotation, rng):
    if annotation.get('segmentation'):
        annotation['bbox'] = rng.choice([None, [], [math.nan] * 4, 'x', [1, 2, 3]])


def _polygon(change):
    def mutate(annotation, rng):
        if isinstance(annotation.get('segmentation'), list):
            annotation['segmentation'] = change(annotation['segmentation'])

    return _each(mutate)


def _pairs(polygons):
    return [[polygon[i : i + 2] for i in range(0, len(polygon), 2)] for polygon in polygons]


def _images(change):
    def mutate(coco, rng):
        for image in coco['images']:
            change(image, rng)

    return mutate


def _path(text):
    return _images(lambda image, rng: image.update(file_name=text.format(image['file_name'])))


def _rubbish(coco, rng):
    for records in ('images', 'annotations', 'categories'):
        rubbish = [
            None,
            3,
            'x',
            [],
            {},
            {'id': []},
            {'id': math.nan},
            {'id': 10**400},
            {'id': True},
        ]
        coco[records].insert(rng.randint(0, len(coco[records])), rng.choice(rubbish))


def _extra(coco, rng):
    for records in ('images', 'annotations', 'categories'):
        for record in coco[records]:
            key = rng.choice(['date_captured', 'license', 'score', 'keypoints', 'obb', '\ud800'])
            record[key] = rng.choice([math.nan, '', None, 'a\udcff', [[1]], {'x': 2}, 10**30])


# Nothing of these changes what a file means. At most one of each group is taken, in this order.
CERTAIN = {
    'boxes': [
        _boxes(lambda x, y, w, h, W, H: [x, y, x + w, y + h], True),
        _boxes(lambda x, y, w, h, W, H: [x / W, y / H, w / W, h / H], True),
        _boxes(lambda x, y, w, h, W, H: [x / W, y / H, (x + w) / W, (y + h) / H], True),
        _set('bbox', lambda box, rng: list(map(str, box))),
        _each(_without_box),
        _set('area', lambda area, rng: rng.choice([None, 0, -1, math.nan, str(area), [], 10**400])),
        _drop('area', 0.5),
    ],
    'segmentations': [
        _polygon(lambda polygons: polygons[0]),
        _polygon(_pairs),
        _polygon(lambda polygons: _pairs(polygons)[0]),
        _polygon(lambda polygons: [*polygons, [3, 4], []]),
    ],
    'crowds': [
        _set('iscrowd', lambda crowd, rng: rng.choice([str(crowd), bool(crowd), float(crowd)])),
        _set('iscrowd', lambda crowd, rng: crowd or None),
        _set('ignore', lambda _, rng: rng.choice([0, '0', False, 'false', None])),
    ],
    'annotation ids': [
        _set('id', lambda key, rng: rng.choice([str(key), float(key), key, None, -1, [], 'x'])),
        _set('id', lambda key, rng: 1),
        _set('id', lambda key, rng: str(uuid.UUID(int=rng.getrandbits(128)))),
        _drop('id'),
        _again('annotations'),
    ],
    'image ids': [
        _set('image_id', lambda key, rng: rng.choice([str(key), f'{key:05}', f'{key}.0'])),
        _refer('images', 'image_id', lambda key, rng: float(key)),
        _refer('images', 'image_id', lambda key, rng: str(uuid.UUID(int=rng.getrandbits(128)))),
        _refer('images', 'image_id', lambda key, rng: rng.choice([key + 0.25, -key, key * 10**20])),
        _named('images', 'file_name'),
        _again('images'),
    ],
    'category ids': [
        _set('category_id', lambda key, rng: rng.choice([str(key), float(key), f'{key:03}'])),
        _refer('categories', 'category_id', lambda key, rng: f'{key}-{rng.random()}'),
        _refer('categories', 'category_id', lambda key, rng: rng.choice([key + 0.5, str(key)])),
        _refer('categories', 'category_id', lambda key, rng: key * 10**18),
        _named('categories', 'name'),
        _again('categories'),
    ],
    'sizes': [
        _images(lambda image, rng: image.pop(rng.choice(['width', 'height']))),
        _images(lambda image, rng: image.update(width=rng.choice([None, '', 0, -5, math.nan]))),
        _images(lambda image, rng: image.update(width=str(image['width']))),
    ],
    'files': [
        _path('C:\\scans\\{}'),
        _path('/storage/{}'),
        _path('../up/{}'),
        _path('cells\\{}'),
    ],
    'others': [_rubbish, _extra],
}  # fmt: skip


def _count_from(shift):
    return _set('category_id', lambda key, rng: key + shift)


def _one(**values):
    """Change one annotation without a segmentation."""

    def mutate(coco, rng):
        chosen = [a for a in coco['annotations'] if not a.get('segmentation')]
        annotation = rng.choice(chosen)
        annotation.update({k: v(annotation) if callable(v) else v for k, v in values.items()})

    return mutate


def _two_names(coco, rng):
    coco['categories'].append(dict(id=rng.randint(1, 3), name='another cell'))


def _two_files(coco, rng):
    coco['images'][rng.randint(0, 2)]['id'] = coco['images'][rng.randint(3, 5)]['id']


# These have two readings: nothing may be written.
UNCLEAR = [
    _count_from(-1),
    _count_from(1),
    _two_names,
    _two_files,
    _one(iscrowd=lambda a: 2),
    _one(bbox=lambda a: [a['bbox'][0] + 30, a['bbox'][1], -a['bbox'][2], a['bbox'][3]]),
    _images(lambda image, rng: image.update(width=2 * image['width'], height=2 * image['height'])),
]
# The meaning of one annotation is lost: it may be left out, and no other.
LOST = [
    _one(image_id=999),
    _one(category_id=999),
    _one(category_id=lambda a: [a['category_id']]),
    _one(image_id=True),
    _one(bbox=[500.0, 500, 20, 20]),
    _one(bbox=lambda a: [math.nan, 1, 2, 3]),
    _one(bbox=None),
]


def _truth(coco):
    """By number: file, class and box. The number is a key of each annotation that tools leave."""
    files = {image['id']: image['file_name'] for image in coco['images']}
    names = {category['id']: category['name'] for category in coco['categories']}
    return {
        a['attributes']['number']: (files[a['image_id']], names[a['category_id']], a['bbox'])
        for a in coco['annotations']
    }


def _mutated(original, rng):
    coco = deepcopy(original)
    kind = rng.choices(['certain', 'lost', 'unclear'], [6, 2, 2])[0]
    if kind == 'unclear':
        rng.choice(UNCLEAR)(coco, rng)
        return coco, kind
    groups = rng.sample(list(CERTAIN), rng.choice([1, 1, 2, 3, 5]))
    if kind == 'lost':
        rng.choice(LOST)(coco, rng)
        groups = [g for g in groups if g in ('annotation ids', 'crowds', 'files', 'others')]
    for group in sorted(groups, key=list(CERTAIN).index):
        rng.choice(CERTAIN[group])(coco, rng)
    return coco, kind


def _instances(ann_file):
    """How many objects and crowds MMDetection trains on, each image loaded."""
    dataset = CocoDataset(
        data_root='cells/',
        ann_file=ann_file,
        data_prefix=dict(img=''),
        metainfo=dict(classes=CLASSES),
        pipeline=PIPELINE,
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
    )
    samples = [sample['data_samples'] for sample in dataset]
    return sum(len(sample.gt_instances) + len(sample.ignored_instances) for sample in samples)


def _check_fixes(count, cells, config, coco):
    for number, annotation in enumerate(coco['annotations']):
        annotation['attributes'] = dict(number=number)
    truth, outcomes, cfg = _truth(coco), Counter(), config()
    for seed in range(count):
        rng = random.Random(seed)
        content, kind = _mutated(coco, rng)
        (cells / 'train.json').write_text(json.dumps(content))
        console = Console(file=io.StringIO(), width=200)
        cfg.train_dataloader.dataset.ann_file = 'train.json'
        well = check_dataset(cfg, ('train',), True, console)
        text, name = console.file.getvalue(), 'train.json'
        offered = re.search(
            r'To use it: --cfg-options train_dataloader.dataset.ann_file=(\S+)', text
        )
        if offered:
            name = cfg.train_dataloader.dataset.ann_file = offered[1]
            assert check_dataset(cfg, ('train',), False, console), f'{seed}: {text}'
        elif not well:
            assert kind == 'unclear', f'seed {seed} is refused: {text}'
            assert 'two readings: ' in text, f'seed {seed}: {text}'
            outcomes['refused, both readings shown'] += 1
            continue
        assert kind != 'unclear', f'seed {seed}: two readings, and one was taken: {text}'
        fixed = json.loads((cells / name).read_text())
        found = _truth(fixed)
        for number, (file, label, box) in found.items():
            assert label == truth[number][1], f'seed {seed}: class of {number} changed: {text}'
            assert file.endswith(truth[number][0]), f'seed {seed}: image of {number}'
            np.testing.assert_allclose(box, truth[number][2], atol=1e-6, err_msg=f'{seed}: {text}')
        lost = len(truth) - len(found)
        assert lost <= (kind == 'lost'), f'seed {seed}: {lost} are lost: {text}'
        assert _instances(name) == len(fixed['annotations']), f'seed {seed}'
        outcomes['repaired' if offered else 'well as it is'] += 1
        if offered:
            (cells / name).unlink()
    print(count, 'files:', dict(outcomes))
    return outcomes


@pytest.mark.parametrize('count', [15, pytest.param(10_000, marks=pytest.mark.long)])
def test_mutated_exports(count, cells, config, coco):
    outcomes = _check_fixes(count, cells, config, coco)
    assert outcomes['repaired'] > count / 2
    assert outcomes['refused, both readings shown'] > count / 20


@pytest.mark.parametrize(
    ('group', 'index'),
    [(g, i) for g in CERTAIN if g != 'files' for i in range(len(CERTAIN[g]))],
)
def test_each_certain_mutation_is_undone(group, index, coco):
    for number, annotation in enumerate(coco['annotations']):
        annotation['attributes'] = dict(number=number)
    sizes = {image['file_name']: (image['width'], image['height']) for image in coco['images']}
    content = deepcopy(coco)
    CERTAIN[group][index](content, random.Random(index))
    before = json.dumps(content)
    repaired, done = repair(content, ImageFiles(sizes=sizes))
    assert json.dumps(content) == before
    assert not done.unclear.errors
    assert done.changes or group == 'others' or repaired == content
    truth, found = _truth(coco), _truth(repaired)
    assert found.keys() == truth.keys()
    for number, (file, label, box) in truth.items():
        assert found[number][:2] == (file, label)
        np.testing.assert_allclose(found[number][2], box, atol=1e-6)
    expected, annotations = (
        {a['attributes']['number']: a for a in c['annotations']} for c in (coco, repaired)
    )
    for number, annotation in expected.items():
        same = annotations[number]
        assert same['iscrowd'] == annotation['iscrowd']
        assert same['area'] == pytest.approx(annotation['area'])
        assert same.get('segmentation') == annotation.get('segmentation')
    problems = Problems()
    check_content(repaired, False, problems)
    assert not problems.errors
