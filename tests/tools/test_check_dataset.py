"""tools/check_dataset.py and --no-data-check on a small data set."""

import json
import re
import shutil
from pathlib import Path

import pytest

from se_det.datasets.drawing import CATEGORIES
from se_det.datasets.shapes import draw_split

CONFIG = """
_base_ = '{checkout}/configs/faster_rcnn_se_r50.py'
classes = {classes}
model = dict(roi_head=dict(bbox_head=dict(num_classes=12)))
data = dict(data_root='own/', metainfo=dict(classes=classes), data_prefix=dict(img='train/'))
train_dataloader = dict(dataset=dict(ann_file='annotations/instances_train.json', **data))
val_dataloader = train_dataloader
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
    text = CONFIG.format(checkout=Path(__file__).parents[2], classes=CATEGORIES)
    (tmp_path / 'own.py').write_text(text)
    return tmp_path / 'own' / 'annotations' / 'instances_train.json'


def test_what_is_wrong_is_named_and_repaired(own, run_here, tmp_path):
    well = run_here('check_dataset.py', 'own.py')
    assert well.returncode == 0, well.stdout + well.stderr
    coco = json.loads(own.read_text())
    for category in coco['categories']:
        objects = sum(a['category_id'] == category['id'] for a in coco['annotations'])
        assert re.search(rf'^ {category["name"]} +{objects} ', well.stdout, re.MULTILINE)
    coco['annotations'][0]['bbox'][2] *= -1
    coco['annotations'][3]['category_id'] = 99
    own.write_text(json.dumps(coco))
    (tmp_path / 'own/train/000004.png').write_bytes(b'')
    before = own.read_bytes()
    wrong = run_here('check_dataset.py', 'own.py', '--split', 'train', '--fix')
    assert wrong.returncode == 1, wrong.stderr
    for part in (
        'width and height of a bbox must not be negative: annotation 1 has',
        'category_id must be one of the categories 1 to 12: annotation 4 has 99',
        '000004.png is an empty file',
        'Written: own/annotations/instances_train.fixed.json',
        'left out: images whose file cannot be read: 000004.png',
    ):
        assert part in wrong.stdout
    assert own.read_bytes() == before
    options = re.search('^To use it: --cfg-options (.*)$', wrong.stdout, re.MULTILINE)[1].split()
    fixed = run_here('check_dataset.py', 'own.py', '--split', 'train', options=options)
    assert fixed.returncode == 0, fixed.stdout


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
