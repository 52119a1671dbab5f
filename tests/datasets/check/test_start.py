"""What is wrong with annotations is an error before training; what MMDetection reads is not."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from se_det.engine.start import data as start
from se_det.engine.start.data import check_data
from se_det.errors import UsageError

NAN, INFINITY = float('nan'), float('inf')


def _box(coco, *box, area=None):
    coco['annotations'][4]['bbox'] = list(box)
    if area is not None:
        coco['annotations'][4]['area'] = area


def _all_boxes(coco, change):
    for annotation in coco['annotations']:
        image = next(i for i in coco['images'] if i['id'] == annotation['image_id'])
        annotation['bbox'] = change(*annotation['bbox'], image['width'], image['height'])


def _set(records, index, /, **values):
    return lambda coco: coco[records][index].update(values)


def _drop(name, index, key):
    return lambda coco: coco[name][index].pop(key)


def _each(records, /, **values):
    return lambda coco: [record.update(values) for record in coco[records]]


WRONG = {
    'NaN': (lambda c: _box(c, NAN, 1, 20, 20), 'bbox must be four finite numbers'),
    'infinite': (lambda c: _box(c, 1, 1, INFINITY, 20), 'bbox must be four finite numbers'),
    'text': (lambda c: _box(c, '1', 1, 20, 20), 'bbox must be four finite numbers'),
    'five numbers': (lambda c: _box(c, 1, 1, 20, 20, 3), 'bbox must be four finite numbers'),
    'negative width': (lambda c: _box(c, 30, 5, -20, 20), 'must not be negative'),
    'outside': (lambda c: _box(c, 300, 5, 20, 20), 'inside its image'),
    'hangs over': (lambda c: _box(c, 95, 5, 30, 20), 'inside its image'),
    'a box as xyxy': (
        lambda c: _box(c, 30, 20, 90, 60, area=60 * 40),
        r'is \[x1, y1, x2, y2\].*: annotation 5 has \[30\.0, 20\.0, 90\.0, 60\.0\]',
    ),
    'xyxy inside the image': (lambda c: _box(c, 10, 10, 40, 30, area=600), r'is \[x1, y1, x2, y2'),
    'all as xyxy': (
        lambda c: _all_boxes(c, lambda x, y, w, h, *_: [x, y, x + w, y + h]),
        r'is \[x1, y1, x2, y2\]; expected \[x, y, width, height\]',
    ),
    'all normalised': (
        lambda c: _all_boxes(c, lambda x, y, w, h, W, H: [x / W, y / H, w / W, h / H]),
        r'normalised to 0\.\.1; expected pixels',
    ),
    'box beside its polygon': (_set('annotations', 3, bbox=[50, 40, 10, 10]), 'enclose its segm'),
    'area 0': (_set('annotations', 4, area=0), 'area must be larger than 0'),
    'area NaN': (_set('annotations', 4, area=NAN), 'area must be a finite number'),
    'no area': (_drop('annotations', 4, 'area'), 'area must be a finite number'),
    'area of another box': (_set('annotations', 4, area=5000), 'must not be larger than width'),
    'all crowd': (_each('annotations', iscrowd=1), r'no object .*is a crowd \(iscrowd=1\)'),
    'all ignored': (_each('annotations', ignore=1), r'no object .*ignored \(ignore=1\)'),
    'crowd as text': (_set('annotations', 4, iscrowd='0'), 'iscrowd must be 0 or 1'),
    'misspelled crowd': (
        lambda c: c['annotations'][7].update(iscrovd=c['annotations'][7].pop('iscrowd')),
        "'iscrovd' looks like a misspelled 'iscrowd'",
    ),
    'category ids from 0': (
        lambda c: [a.update(category_id=a['category_id'] - 1) for a in c['annotations']],
        'category_id must be one of the categories 1 to 3',
    ),
    'unknown category': (_set('annotations', 4, category_id=9), 'category_id must be one of'),
    'unknown image': (_set('annotations', 4, image_id=9), 'image_id must be the id of an image'),
    'an annotation id twice': (_set('annotations', 4, id=4), 'ids of annotations must be unique'),
    'an image id twice': (_set('images', 1, id=11), 'ids of images must be unique'),
    'a category id twice': (_set('categories', 1, id=1), 'ids of categories must be unique'),
    'a name twice': (_set('categories', 1, name='red cell'), 'names of categories must be unique'),
    'category without a name': (_drop('categories', 1, 'name'), 'name of a category must be text'),
    'wrong image size': (_set('images', 2, width=90), r'is 96x64; the annotations say 90x64'),
    'image size as text': (_set('images', 2, width='96'), 'must be positive integers'),
    'image size 0': (_set('images', 2, height=0), 'must be positive integers'),
    'no file name': (_drop('images', 2, 'file_name'), 'file_name must be a path'),
    'image not there': (_set('images', 2, file_name='gone.png'), r'gone\.png does not exist'),
    'no annotations': (lambda c: c.update(annotations=[]), '6 images, no annotations'),
    'no list of annotations': (lambda c: c.pop('annotations'), 'no annotations'),
    'no images': (lambda c: c.update(images=[], annotations=[]), 'images must not be empty'),
    'an image that is no dict': (lambda c: c['images'].append(3), 'an image must be a dict'),
    'an annotation that is no dict': (lambda c: c['annotations'].append([]), 'must be a dict'),
    'lists as dicts': (lambda c: c.update(images={'1': {}}), "'images' is not a list"),
}


@pytest.mark.parametrize('case', WRONG)
def test_what_is_wrong_is_an_error(case, coco, verdict):
    change, message = WRONG[case]
    change(coco)
    with pytest.raises(UsageError, match=message):
        raise UsageError(verdict(coco))


def test_the_error_says_where_and_what_to_type(coco, verdict):
    _box(coco, NAN, 1, 20, 20)
    message = verdict(coco)
    for part in (
        'cells/train.json',
        'annotation 5 has [nan, 1, 20, 20]',
        'python -m se_det check_dataset',
        '--fix',
        '--no-data-check',
    ):
        assert part in message


@pytest.mark.parametrize(
    'content',
    [
        *('', 'hello', '[' * 100_000, '[]', 'null', '{"images": []}'),
        *('{"images": ' + '9' * 5000 + '}', b'{"images": ["\xff"]}'),
    ],
)
def test_files_that_are_not_cocos(content, verdict):
    assert 'is not a COCO annotation file' in verdict(content)


def _flip_crowd(coco):
    """The images of COCO's train2017 that have crowds alone."""
    for annotation in coco['annotations'][::6]:
        annotation['iscrowd'] = 1


FINE = {
    'unchanged': lambda c: None,
    'crowds alone in an image': _flip_crowd,
    'an image without objects': lambda c: c['annotations'].__delitem__(slice(None, None, 6)),
    'a box of a part of a pixel': lambda c: _box(c, 10, 10, 0.5, 20, area=9),
    'a box of no height': lambda c: _box(c, 10, 10, 5, 0, area=0),
    'a box that rounding lets hang over': lambda c: _box(c, 10, 40.5, 20, 24, area=480),
    'no iscrowd': lambda c: [a.pop('iscrowd') for a in c['annotations'] if not a['iscrowd']],
    'ids of images as text': lambda c: (
        [i.update(id=str(i['id'])) for i in c['images']],
        [a.update(image_id=str(a['image_id'])) for a in c['annotations']],
    ),
    'more keys': lambda c: [a.update(attributes={}, score=1) for a in c['annotations']],
    'segmentations that the config does not read': _set('annotations', 0, segmentation=[[]]),
    '5 MiB of names': lambda c: c['categories'].extend(
        dict(id=k, name=f'{k}' * 400) for k in range(100, 3000)
    ),
}


@pytest.mark.parametrize('case', FINE)
def test_what_is_fine_passes(case, coco, verdict):
    FINE[case](coco)
    assert verdict(coco) is None


@pytest.mark.parametrize(
    ('change', 'note'),
    [
        (lambda c: _box(c, 10, 10, 5, 0, area=0), '1 boxes are left out by MMDetection: narrower'),
        (_set('annotations', 4, ignore=1), "1 boxes are left out by MMDetection: their 'ignore'"),
        (
            lambda c: c['annotations'].append({**c['annotations'][2], 'id': 99}),
            '1 boxes are there twice',
        ),
        (_set('annotations', 4, id=0), 'has the id 0'),
    ],
)
def test_what_mmdetection_leaves_out_is_logged(change, note, coco, verdict, log):
    change(coco)
    assert verdict(coco) is None
    assert any(note in text for text in log)


def test_many_boxes_that_mmdetection_would_leave_out_are_an_error(coco, verdict):
    for annotation in coco['annotations'][:12]:
        annotation.update(bbox=[5.0, 5.0, 0.5, 9.0], area=4, segmentation=[])
    assert 'must be at least one pixel' in verdict(coco)


MASKS = {
    'a polygon of two points': ([[1, 1, 5, 5]], 'a polygon must be a list'),
    'an odd number of coordinates': ([[1, 1, 5, 5, 9, 9, 3]], 'a polygon must be a list'),
    'text in a polygon': ([[1, 1, 5, '5', 9, 9]], 'a polygon must have numbers alone'),
    'NaN in a polygon': ([[1, 1, 5, NAN, 9, 9]], 'a polygon must be inside its image'),
    'a polygon elsewhere': ([[1, 1, 5, 5, 9, 900]], 'a polygon must be inside its image'),
    'no segmentation': ([], 'segmentation must be there'),
    'text': ('polygon', 'segmentation must be polygons or run lengths'),
    'RLE of another size': (dict(size=[9, 9], counts=[81]), 'the size of an RLE'),
    'RLE that is cut off': (dict(size=[64, 88], counts=[5, 6]), 'the counts of an RLE'),
    'compressed RLE that is cut off': (dict(size=[64, 88], counts='d0'), 'the counts of an RLE'),
}


@pytest.mark.parametrize('case', MASKS)
def test_segmentations_of_a_config_with_masks(case, coco, cells, config):
    for annotation in coco['annotations']:
        x, y, w, h = annotation['bbox']
        annotation['segmentation'] = [[x, y, x + w, y, x + w, y + h]]
    mask_config = config(config='configs/mask_rcnn_se_r50.py')
    mask_config.model.roi_head.mask_head.num_classes = 3
    (cells / 'train.json').write_text(json.dumps(coco))
    check_data(mask_config, ('train',))
    segmentation, message = MASKS[case]
    coco['annotations'][1]['segmentation'] = segmentation
    (cells / 'train.json').write_text(json.dumps(coco))
    with pytest.raises(UsageError, match=message):
        check_data(mask_config, ('train',))


def test_pycocotools_run_lengths_are_valid(coco, verdict):
    rng = np.random.default_rng(0)
    for annotation in coco['annotations']:
        image = next(i for i in coco['images'] if i['id'] == annotation['image_id'])
        pixels = rng.integers(0, 2, (image['height'], image['width']), dtype=np.uint8)
        rle = coco_mask.encode(np.asfortranarray(pixels))
        annotation['segmentation'] = dict(size=rle['size'], counts=rle['counts'].decode())
        annotation['bbox'] = coco_mask.toBbox(rle).tolist()
        annotation['area'] = int(coco_mask.area(rle))
    assert verdict(coco, pipeline=[dict(type='LoadAnnotations', with_mask=True)]) is None


@pytest.mark.parametrize(
    ('content', 'message'),
    [(b'', 'is an empty file'), (b'hello', 'is not an image'), (None, 'does not exist')],
)
def test_image_files(content, message, coco, cells, verdict):
    (cells / '3.png').unlink()
    if content is not None:
        (cells / '3.png').write_bytes(content)
    assert message in verdict(coco)


def test_an_image_that_exif_data_turn(coco, cells, verdict):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.new('RGB', (88, 64)).save(cells / 'turned.jpg', exif=exif)
    coco['images'][1]['file_name'] = 'turned.jpg'
    assert 'is 64x88; the annotations say 88x64 (OpenCV turns images' in verdict(coco)
    coco['annotations'] = [a for a in coco['annotations'] if a['image_id'] != 12]
    coco['images'][1].update(width=64, height=88)
    assert verdict(coco) is None


def test_an_unchanged_file_is_parsed_once(coco, verdict, cells, config, monkeypatch):
    assert verdict(coco) is None
    an_hour_ago = time.time() - 3600
    os.utime(cells / 'train.json', (an_hour_ago, an_hour_ago))
    check_data(config(), ('train', 'val', 'test'))
    with monkeypatch.context() as patch:
        patch.setattr(start, 'read_annotations', lambda file: pytest.fail('parsed again'))
        check_data(config(), ('train', 'val', 'test'))
        cv2.imwrite(str(cells / '3.png'), np.zeros((9, 9, 3), np.uint8))
        with pytest.raises(UsageError, match='is 9x9; the annotations say'):
            check_data(config(), ('train',))
    coco['annotations'][4]['area'] = 0
    assert 'area must be larger than 0' in verdict(coco)
    assert 'area must be larger than 0' in verdict(coco)


def test_of_runs_that_start_together_one_parses(coco, verdict, cells, config, monkeypatch):
    assert verdict(coco) is None
    an_hour_ago = time.time() - 3600
    os.utime(cells / 'train.json', (an_hour_ago, an_hour_ago))
    parsed, read = [], start.read_annotations

    def read_slowly(file):
        parsed.append(file)
        time.sleep(0.3)
        return read(file)

    monkeypatch.setattr(start, 'read_annotations', read_slowly)
    with ThreadPoolExecutor(4) as runs:
        list(runs.map(lambda _: check_data(config(), ('train',)), range(4)))
    assert len(parsed) == 1


def test_where_nothing_can_be_kept_each_run_parses(coco, verdict, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'file'))
    assert verdict(coco) is None


def test_classes_in_a_file_are_read(coco, verdict, tmp_path):
    (tmp_path / 'classes.txt').write_text('red cell\nwhite cell\nplatelet\n')
    assert verdict(coco, metainfo=dict(classes='classes.txt')) is None
    (tmp_path / 'classes.txt').write_text('red cell\nplatelet\nwhite cell\n')
    assert 'The class list' in verdict(coco, metainfo=dict(classes='classes.txt'))


def test_files_of_other_backends_are_not_looked_for(config):
    mapping = dict(cells='s3://bucket/cells')
    backend = dict(backend='petrel', path_mapping=mapping)
    cfg = config(data_root='elsewhere/')
    cfg.train_dataloader.dataset.backend_args = backend
    check_data(cfg, ('train',))
    with pytest.raises(UsageError, match='elsewhere'):
        check_data(config(data_root='elsewhere/'), ('train',))


@pytest.mark.parametrize(
    ('folder', 'splits', 'classes'),
    [
        ('coco_mini', ('train2017', 'val2017'), None),
        ('bccd', ('train', 'val'), ('Platelets', 'RBC', 'WBC')),
        (
            'neu_det',
            ('train', 'val'),
            ('crazing', 'inclusion', 'patches', 'pitted_surface', 'rolled-in_scale', 'scratches'),
        ),
    ],
)
def test_real_data_sets_pass(shared, config, folder, splits, classes):
    cfg = config(classes=classes or ())
    for loader, split in zip(('train', 'val'), splits, strict=True):
        dataset = cfg[f'{loader}_dataloader'].dataset
        dataset.data_root = f'{shared / folder}/'
        dataset.ann_file = f'annotations/instances_{split}.json'
        dataset.data_prefix.img = f'{split}/'
        if classes is None:
            del dataset.metainfo
    cfg.val_evaluator.ann_file = cfg.val_dataloader.dataset.data_root + dataset.ann_file
    cfg.model.roi_head.bbox_head.num_classes = 80 if classes is None else len(classes)
    check_data(cfg, ('train', 'val'))
