"""tools/check_dataset.py and --no-data-check on a small data set."""

import json
import os
import shutil

import pytest

from se_det.datasets.drawing import CATEGORIES
from se_det.datasets.shapes import draw_split

CONFIG = """
_base_ = '{checkout}/configs/faster_rcnn_se_r50.py'
classes = {classes}
model = dict(roi_head=dict(bbox_head=dict(num_classes=12)))
data = dict(data_root='own/', metainfo=dict(classes=classes))
train_dataloader = dict(
    dataset=dict(
        ann_file='annotations/instances_train.json', data_prefix=dict(img='train/'), **data
    )
)
val_dataloader = dict(
    dataset=dict(
        ann_file='annotations/instances_train.json', data_prefix=dict(img='train/'), **data
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='own/annotations/instances_train.json')
test_evaluator = val_evaluator
"""


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drawn')
    draw_split(folder, 'train', 6, 0)
    return folder


@pytest.fixture
def own(drawn, tmp_path):
    """The data set in ``own/``, and its config ``own.py``; returns the annotation file."""
    shutil.copytree(drawn, tmp_path / 'own')
    checkout = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
    (tmp_path / 'own.py').write_text(CONFIG.format(checkout=checkout, classes=CATEGORIES))
    return tmp_path / 'own' / 'annotations' / 'instances_train.json'


def test_all_is_well(own, run):
    finished = run('check_dataset.py', 'own.py')
    assert finished.returncode == 0, finished.stdout + finished.stderr
    coco = json.loads(own.read_text())
    assert '6 images, 0 of them without objects; ' in finished.stdout
    for category in coco['categories']:
        objects = sum(a['category_id'] == category['id'] for a in coco['annotations'])
        (row,) = [r for r in finished.stdout.splitlines() if r.startswith(f' {category["name"]} ')]
        assert row.removeprefix(f' {category["name"]} ').split()[0] == str(objects)
    assert finished.stdout.endswith('All is well.\n')


def test_what_is_wrong_is_named_and_repaired(own, run, tmp_path):
    coco = json.loads(own.read_text())
    coco['annotations'][0]['bbox'][2] *= -1
    coco['annotations'][3]['category_id'] = 99
    width, height = coco['images'][2]['width'], coco['images'][2]['height']
    coco['images'][2]['width'] = 100
    own.write_text(json.dumps(coco))
    (tmp_path / 'own/train/000004.png').write_bytes(b'')
    before = own.read_bytes()
    finished = run('check_dataset.py', 'own.py', '--split', 'train', '--fix')
    assert finished.returncode == 1, finished.stderr
    for part in (
        'width and height of a bbox must not be negative: annotation 1 has',
        'category_id must be one of the categories 1 to 12: annotation 4 has 99',
        '000004.png is an empty file',
        f'000002.png is {width}x{height}, the annotations say 100x{height}',
        'Written: own/annotations/instances_train.fixed.json',
        "1 image sizes set to the files'",
        'left out: images whose file cannot be read: 000004.png',
    ):
        assert part in finished.stdout
    assert own.read_bytes() == before
    (line,) = [r for r in finished.stdout.splitlines() if r.startswith('To use it: --cfg-options')]
    options = line.removeprefix('To use it: --cfg-options ').split()
    finished = run('check_dataset.py', 'own.py', '--split', 'train', options=options)
    assert finished.returncode == 0, finished.stdout


@pytest.mark.long
def test_training_with_and_without_the_check(own, run, quick):
    """The check refuses the data; without it, training starts and an image is replaced."""
    coco = json.loads(own.read_text())
    coco['annotations'][0]['category_id'] = 99
    own.write_text(json.dumps(coco))
    (own.parents[1] / 'train/000004.png').write_bytes(b'')
    options = [*quick, 'train_cfg.max_epochs=1', 'train_cfg.val_begin=5']
    options += ['train_dataloader.dataset.pipeline.2.scale=(128,128)']
    finished = run('train.py', 'own.py', options=options)
    assert finished.returncode == 2
    assert 'category_id must be one of' in finished.stderr
    assert 'Traceback' not in finished.stderr
    finished = run('train.py', 'own.py', '--no-data-check', options=options)
    assert finished.returncode == 0, finished.stderr
    assert '000004.png is an empty file. Another image takes its place' in finished.stdout
    options += ['max_unreadable_images=0']
    finished = run('train.py', 'own.py', '--no-data-check', options=options)
    assert finished.returncode == 2
    assert 'max_unreadable_images=0' in finished.stderr
    assert 'Traceback' not in finished.stderr
