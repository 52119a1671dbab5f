"""A repaired copy passes the check, and has the boxes that were meant."""

import json
import math
from copy import deepcopy

import numpy as np
import pytest

from se_det.datasets.check.repair import repair


def _boxes(coco):
    return np.array([annotation['bbox'] for annotation in coco['annotations']])


def _corners(coco):
    for annotation in coco['annotations']:
        x, y, w, h = annotation['bbox']
        annotation['bbox'] = [x, y, x + w, y + h]


def _normalised(coco):
    for annotation in coco['annotations']:
        image = next(i for i in coco['images'] if i['id'] == annotation['image_id'])
        size = np.array([image['width'], image['height']] * 2)
        annotation['bbox'] = (np.array(annotation['bbox']) / size).tolist()


def _from_zero(coco):
    for annotation in coco['annotations']:
        annotation['category_id'] -= 1


def _ids_twice(coco):
    for annotation in coco['annotations']:
        annotation['id'] = annotation['image_id']


def _no_area(coco):
    for annotation in coco['annotations'][1::3]:
        del annotation['area']
    coco['annotations'][2]['area'] = math.nan


def _crowd_as_text(coco):
    for annotation in coco['annotations']:
        annotation['iscrowd'] = str(annotation['iscrowd'])


def _ids_as_floats(coco):
    for annotation in coco['annotations']:
        annotation['image_id'] = float(annotation['image_id'])


@pytest.mark.parametrize(
    ('damage', 'change'),
    [
        (_corners, '18 bboxes written as [x, y, width, height] instead of corners'),
        (_normalised, '18 bboxes multiplied by the size of the image'),
        (_from_zero, '18 category ids raised by 1, as they counted from 0'),
        (_ids_twice, '18 annotation ids numbered anew from 1'),
        (_no_area, '7 areas set to width times height of the bbox'),
        (_crowd_as_text, '18 iscrowd set to 0 or 1'),
        (_ids_as_floats, '18 image_id written as an integer'),
    ],
)
def test_what_was_meant_is_restored(damage, change, coco, verdict):
    original = deepcopy(coco)
    damage(coco)
    assert verdict(coco) is not None
    before = json.dumps(coco)
    repaired, done = repair(coco)
    assert json.dumps(coco) == before
    assert [f'{count} {what}' for what, count in done.changes.items()] == [change]
    assert verdict(repaired) is None
    np.testing.assert_allclose(_boxes(repaired), _boxes(original), atol=1e-9)
    for key in ('category_id', 'iscrowd', 'image_id', 'area'):
        found = [annotation[key] for annotation in repaired['annotations']]
        np.testing.assert_allclose(found, [a[key] for a in original['annotations']])


@pytest.mark.parametrize(
    ('damage', 'left', 'box'),
    [
        (dict(bbox=[math.nan, 1, 20, 20]), 17, None),
        (dict(bbox=[30, 5, -20, 20]), 17, None),
        (dict(bbox=[300, 5, 20, 20]), 17, None),
        (dict(bbox=[90, 5, 40, 20], area=800), 18, [90, 5, 22, 20]),
        (dict(category_id=9), 17, None),
        (dict(image_id=9), 17, None),
    ],
)
def test_what_cannot_be_repaired_is_left_out(damage, left, box, coco, verdict):
    coco['annotations'][4].update(damage)
    repaired, done = repair(coco)
    assert done.changes or done.left_out.errors
    assert len(repaired['annotations']) == left
    assert verdict(repaired) is None
    if box is not None:
        assert repaired['annotations'][4]['bbox'] == box


def test_images_get_the_size_of_their_files(coco, verdict):
    sizes = {image['file_name']: (image['width'], image['height']) for image in coco['images']}
    coco['images'][1].update(width=64, height=88)
    coco['images'][2]['file_name'] = 'gone.png'
    repaired, done = repair(coco, {**sizes, 'gone.png': None})
    assert done.changes["image sizes set to the files'"] == 1
    assert done.changes['images left out, as their file cannot be read'] == 1
    assert len(repaired['images']) == 5
    assert len(repaired['annotations']) == 15
    assert verdict(repaired) is None


def test_masks(coco):
    for annotation in coco['annotations']:
        x, y, w, h = annotation['bbox']
        annotation['segmentation'] = [[x, y, x + w, y, x + w, y + h]]
    coco['annotations'][3]['segmentation'] = [[1, 2]]
    repaired, _ = repair(coco, masks=True)
    assert len(repaired['annotations']) == 17
    repaired, _ = repair(coco, masks=False)
    assert repaired['annotations'][3]['segmentation'] == []


def test_a_good_file_stays_as_it_is(coco):
    repaired, done = repair(coco)
    assert repaired == coco
    assert not done.changes
