"""A repaired copy passes the check, and has the boxes that were meant."""

import math

import numpy as np
import pytest

from se_det.datasets.check.repair import repair
from se_det.datasets.check.repair_records import ImageFiles


def _normalised(coco):
    for annotation in coco['annotations']:
        image = next(i for i in coco['images'] if i['id'] == annotation['image_id'])
        size = np.array([image['width'], image['height']] * 2)
        annotation['bbox'] = (np.array(annotation['bbox']) / size).tolist()


def _one_name_two_ids(coco):
    coco['categories'].append(dict(id=9, name='red cell'))
    for annotation in coco['annotations'][::2]:
        if annotation['category_id'] == 1:
            annotation['category_id'] = 9


def test_one_name_with_two_ids_is_one_class(coco, verdict):
    meant = _meant(coco)
    _one_name_two_ids(coco)
    repaired, _ = repair(coco)
    assert _meant(repaired) == meant
    assert verdict(repaired) is None


def _meant(coco):
    """File, class name and box of each annotation."""
    files = {image['id']: image['file_name'] for image in coco['images']}
    names = {category['id']: category['name'] for category in coco['categories']}
    return [(files[a['image_id']], names[a['category_id']], a['bbox']) for a in coco['annotations']]


def _count_from(start):
    def damage(coco):
        for annotation in coco['annotations']:
            annotation['category_id'] += start - 1

    return damage


def _set(records, index, /, **values):
    return lambda coco: coco[records][index].update(values)


def _corners_without_evidence(coco):
    del coco['annotations'][4]['area']
    coco['annotations'][4]['bbox'] = [30, 20, 90, 60]


def _centres(coco):
    """As YOLO writes boxes; without segmentations, nothing says that it is no corner."""
    _normalised(coco)
    for annotation in coco['annotations']:
        annotation.pop('segmentation', None)
        annotation['iscrowd'] = 0
        annotation['bbox'][:2] = [0.4, 0.4]


UNCLEAR = {
    'counts from 0': (
        _count_from(0),
        "choose with --read-as category_id+1 or category_id+0: 0 is 'red cell', 1 is 'white cell', "
        "2 is 'platelet'; or 0 is 'of no category', 1 is 'red cell', 2 is 'white cell'",
    ),
    'counts from 2': (_count_from(2), 'choose with --read-as category_id-1 or category_id+0'),
    'an id of two classes': (
        lambda c: c['categories'].append(dict(id=1, name='blue cell')),
        "the id of a category has two readings: 1 is 'red cell' or 'blue cell'",
    ),
    'a name of two classes': (
        lambda c: (
            c['categories'][0].update(supercategory='blood'),
            c['categories'].append(dict(id=9, name='red cell', supercategory='bone')),
        ),
        "the name of a category has two readings: 'red cell' of blood or of bone",
    ),
    'an id of two images': (
        _set('images', 1, id=11),
        'the id of an image has two readings: 11 is 0.png or 1.png',
    ),
    'text that is an id and a name': (
        lambda c: (
            c['categories'][0].update(name='2'),
            c['annotations'][4].update(category_id='2'),
        ),
        "category_id has two readings: annotation 5: '2' is that of 2 or that of white cell",
    ),
    'crowd as another number': (
        _set('annotations', 4, iscrowd=2),
        "iscrowd can be 0 or 1: annotation 5 has '2'",
    ),
    'negative width': (
        _set('annotations', 4, bbox=[30, 5, -20, 20]),
        'annotation 5 is [10, 5, 20, 20] or [30, 5, 20, 20]',
    ),
    'corners or sizes': (
        _corners_without_evidence,
        'annotation 5, as x, y, width and height in pixels: '
        'xywh: [30, 20, 90, 60]; xyxy: [30, 20, 60, 40]',
    ),
    'centres or corners': (_centres, 'bbox can be xywh-normalised, xyxy-normalised'),
    'a box beside its segmentation': (
        _set('annotations', 3, bbox=[50, 40, 10, 10], area=100),
        'choose with --read-as bbox or segmentation: annotation 4 is [50, 40, 10, 10] or [',
    ),
}


@pytest.mark.parametrize('case', UNCLEAR)
def test_two_readings_are_shown(case, coco):
    damage, readings = UNCLEAR[case]
    damage(coco)
    _, done = repair(coco)
    assert readings in '\n'.join(done.unclear.error_lines())


@pytest.mark.parametrize(
    ('damage', 'choice', 'change'),
    [
        (_count_from(0), 'category_id+1', lambda found, meant: found == meant),
        (_count_from(0), 'category_id+0', lambda found, meant: len(found) == 12),
        (_corners_without_evidence, 'xyxy', lambda found, _: found[4][2] == [30, 20, 60, 40]),
        (_corners_without_evidence, 'xywh', lambda found, _: found[4][2] == [30, 20, 82, 44]),
        (_corners_without_evidence, 'drop', lambda found, meant: len(found) == 17),
        (_set('annotations', 4, iscrowd=2), 'drop', lambda found, meant: len(found) == 17),
        (_centres, 'cxcywh-normalised', lambda found, _: 0 < found[0][2][0] < 32),
    ],
)
def test_what_the_user_chooses(damage, choice, change, coco, verdict):
    meant = _meant(coco)
    damage(coco)
    repaired, done = repair(coco, choices=[choice])
    assert not done.unclear.errors
    assert change(_meant(repaired), meant), _meant(repaired)
    assert verdict(repaired) is None


@pytest.mark.parametrize(
    ('damage', 'left', 'box'),
    [
        (dict(bbox=[math.nan, 1, 20, 20]), 17, None),
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
    repaired, done = repair(coco, ImageFiles(sizes={**sizes, 'gone.png': None}))
    assert done.changes["image sizes set to the files'"] == 1
    assert done.left_out.error_lines() == [
        'images whose file cannot be read: gone.png',
        'annotations whose image is left out: annotation 3; annotation 9; annotation 15',
    ]
    assert len(repaired['images']) == 5
    assert len(repaired['annotations']) == 15
    assert verdict(repaired) is None


@pytest.mark.parametrize(
    ('said', 'turned', 'message'),
    [
        (dict(width=176, height=128), (), '1.png is 88x64, the annotations say 176x128'),
        (dict(width=64, height=88), ('1.png',), 'as OpenCV turns it'),
    ],
)
def test_a_size_that_boxes_could_be_drawn_on(said, turned, message, coco):
    sizes = {image['file_name']: (image['width'], image['height']) for image in coco['images']}
    coco['images'][1].update(said)
    files = ImageFiles(sizes=sizes, turned=set(turned))
    assert message in repair(coco, files)[1].unclear.error_lines()[0]
    repaired, done = repair(coco, files, choices=['file-size'])
    assert not done.unclear.errors
    assert (repaired['images'][1]['width'], repaired['images'][1]['height']) == (88, 64)


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
