"""A small data set in COCO's form, and a config that reads it."""

import json
from copy import deepcopy
from functools import cache

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from se_det.engine.launch import load_config
from se_det.engine.start.data import check_data
from se_det.errors import UsageError

CLASSES = ('red cell', 'white cell', 'platelet')
R50 = 'configs/faster_rcnn_se_r50.py'


def _small_coco():
    """Six images with 18 boxes; polygons, a crowd and boxes alone."""
    rng = np.random.default_rng(0)
    images = [dict(id=11 + i, file_name=f'{i}.png', width=80 + 8 * i, height=64) for i in range(6)]
    annotations = []
    for index in range(18):
        image = images[index % 6]
        x, y = (float(v) for v in rng.integers(1, 30, 2))
        w, h = (float(v) for v in rng.integers(12, 30, 2))
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotation = dict(
            id=index + 1,
            image_id=image['id'],
            category_id=1 + index // 3 % 3,
            bbox=[x, y, w, h],
            area=w * h,
            iscrowd=0,
        )
        if index % 3 == 0:
            annotation['segmentation'] = [polygon]
        if index == 7:
            mask = np.zeros((64, image['width']), np.uint8, order='F')
            mask[int(y) : int(y + h), int(x) : int(x + w)] = 1
            rle = coco_mask.encode(mask)
            rle['counts'] = rle['counts'].decode()
            annotation.update(iscrowd=1, segmentation=rle)
        annotations.append(annotation)
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    info = dict(description='cells', file_name='not an image')
    return dict(info=info, images=images, annotations=annotations, categories=categories)


_loaded = cache(load_config)

SMALL = _small_coco()


@pytest.fixture
def coco():
    """The content of the small annotation file, to change."""
    return deepcopy(SMALL)


@pytest.fixture(autouse=True)
def cells(tmp_path, monkeypatch):
    """The current folder, with the data set in ``cells/``; returns its folder."""
    folder = tmp_path / 'cells'
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    (folder / 'train.json').write_text(json.dumps(SMALL))
    for image in SMALL['images']:
        pixels = np.full((image['height'], image['width'], 3), image['id'], np.uint8)
        cv2.imwrite(str(folder / image['file_name']), pixels)
    return folder


@pytest.fixture
def config():
    """Make the config of a run on the data set; ``dataset`` changes that of the training data."""

    def make(classes=CLASSES, config=R50, **dataset):
        options = {'model.roi_head.bbox_head.num_classes': len(classes)}
        metainfo = dict(classes=classes)
        for split in ('train', 'val', 'test'):
            data = dict(data_root='cells/', ann_file='train.json', metainfo=metainfo)
            data['data_prefix'] = dict(img='')
            data.update(dataset if split == 'train' else {})
            options.update({f'{split}_dataloader.dataset.{k}': v for k, v in data.items()})
        options['val_evaluator.ann_file'] = 'cells/train.json'
        options['test_evaluator.ann_file'] = 'cells/train.json'
        cfg = deepcopy(_loaded(config))
        cfg.merge_from_dict(options)
        return cfg

    return make


@pytest.fixture
def verdict(cells, config):
    """Write annotations, check them as a training does; returns the error's message or None."""

    def check(content, **dataset):
        if not isinstance(content, (bytes, str)):
            content = json.dumps(content)
        if isinstance(content, str):
            content = content.encode()
        (cells / 'train.json').write_bytes(content)
        try:
            check_data(config(**dataset), ('train',))
        except UsageError as error:
            return str(error)
        return None

    return check
