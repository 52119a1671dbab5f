"""Ten ways to "need at least one array to concatenate", each as an error with its cause.

mmengine raises that for a data set without an image left. Each case has the number of a thread of
MMDetection's tracker with this error. The causes of #3628, #10294, #10820, #11650 and #11858 follow
what was written there; the text of the other five shows none, and they have other likely causes.
"""

import json
import re

import pytest
from mmdet.datasets import CocoDataset

from se_det.engine.start.data import check_data
from se_det.errors import UsageError


def _small_images(coco, cfg):
    """#3628: images of 10x10, and the filter wants 32."""
    cfg.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True, min_size=65)


def _coco_classes(coco, cfg):
    """#10161: the config has no class list, so that it is COCO's."""
    del cfg.train_dataloader.dataset.metainfo


def _edited_class_list(coco, cfg):
    """#10294: names that differ from the file's, as 0 and O."""
    classes = ('red ce11', 'white ce11', 'plate1et')
    cfg.train_dataloader.dataset.metainfo.classes = classes


def _text_as_classes(coco, cfg):
    """#10627: a tuple of one class without its comma."""
    cfg.train_dataloader.dataset.metainfo.classes = 'cell'


def _another_class(coco, cfg):
    """#10668: a class of the file that has no object in it."""
    for annotation in coco['annotations']:
        annotation['category_id'] = 1
    cfg.train_dataloader.dataset.metainfo.classes = ('platelet',)


def _classes_beside_metainfo(coco, cfg):
    """#10820: ``classes`` in the config, but not in the data set's metainfo."""
    cfg.classes = ('red cell', 'white cell', 'platelet')
    del cfg.train_dataloader.dataset.metainfo


def _annotations_empty(coco, cfg):
    """#10916: a conversion that wrote no annotation."""
    coco['annotations'] = []


def _ids_from_zero(coco, cfg):
    """#11557: category ids of the annotations that are not those of the categories."""
    for category in coco['categories']:
        category['id'] += 100


def _all_filtered(coco, cfg):
    """#11650: without filter_empty_gt it trains: no annotation belongs to an image."""
    for annotation in coco['annotations']:
        annotation['image_id'] += 1000


def _category_as_number(coco, cfg):
    """#11858: the category is named '1', and the config has no metainfo."""
    coco['categories'] = [dict(id=1, name='1', supercategory='stones')]
    for annotation in coco['annotations']:
        annotation['category_id'] = 1
    del cfg.train_dataloader.dataset.metainfo


DATASET = r'train_dataloader\.dataset'

THREADS = {
    3628: (_small_images, rf'{DATASET}\.filter_cfg leaves no image.*min_size=65.*min_size=64'),
    10161: (_coco_classes, rf'no metainfo\.classes.*CocoDataset.*Set {DATASET}\.metainfo=dict'),
    10294: (_edited_class_list, r"'red cell', .*Found: \('red ce11'.*Set .*metainfo=dict"),
    10627: (_text_as_classes, r"needs a comma: metainfo=dict\(classes=\('cell',\)\)"),
    10668: (_another_class, r"no object of the classes.*Set .*metainfo=dict\(classes=\('red cell'"),
    10820: (_classes_beside_metainfo, rf'{DATASET} has no metainfo\.classes.*Set {DATASET}\.meta'),
    10916: (_annotations_empty, rf'6 images and no annotation.*Set {DATASET}\.ann_file'),
    11557: (_ids_from_zero, r'category_id must be one of the categories 101 to 103.*--fix'),
    11650: (_all_filtered, r'image_id must be the id of an image in the file.*--fix'),
    11858: (_category_as_number, r"order: \('1',\).*no metainfo\.classes.*classes=\('1',\)"),
}


@pytest.mark.parametrize('thread', THREADS)
def test_the_error_has_the_cause_and_the_line_to_change(thread, coco, cells, config):
    change, message = THREADS[thread]
    cfg = config()
    change(coco, cfg)
    (cells / 'train.json').write_text(json.dumps(coco))
    with pytest.raises(ValueError, match='need at least one array to concatenate'):
        _build(cfg.train_dataloader.dataset)
    with pytest.raises(UsageError) as error:
        check_data(cfg, ('train',))
    assert re.search(message, str(error.value), re.DOTALL), str(error.value)


def _build(dataset):
    """Build it as MMDetection does."""
    arguments = {k: v for k, v in dataset.items() if k not in ('type', 'pipeline', '_scope_')}
    return CocoDataset(**arguments)
