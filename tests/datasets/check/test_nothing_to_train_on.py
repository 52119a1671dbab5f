"""Ways to "need at least one array to concatenate", each as an error with its cause.

mmengine raises that for a data set without an image left. The numbers are threads of MMDetection's
tracker with this error that have such a cause, or a likely one.
"""

import json
import re

import pytest
from mmdet.datasets import CocoDataset

from se_det.engine.start.data import check_data
from se_det.errors import UsageError


def _dataset(**values):
    return lambda coco, dataset: dataset.update(values)


def _no_metainfo(coco, dataset):
    """The class list is COCO's, also with ``classes`` elsewhere in the config."""
    del dataset['metainfo']


def _another_class(coco, dataset):
    """A class of the file that has no object in it."""
    for annotation in coco['annotations']:
        annotation['category_id'] = 1
    dataset['metainfo'] = dict(classes=('platelet',))


def _other_ids(records, key):
    """Ids that nothing refers to, or that refer to nothing."""

    def change(coco, dataset):
        for record in coco[records]:
            record[key] += 100

    return change


DATASET = r'train_dataloader\.dataset'

CASES = {
    'images are too small, #3628': (
        _dataset(filter_cfg=dict(filter_empty_gt=True, min_size=65)),
        rf'{DATASET}\.filter_cfg leaves no image.*min_size=65.*min_size=64',
    ),
    'no class list, #10161 #10820 #11858': (
        _no_metainfo,
        rf'{DATASET} has no metainfo\.classes.*CocoDataset.*Set {DATASET}\.metainfo=dict',
    ),
    'names with 1 for l, #10294': (
        _dataset(metainfo=dict(classes=('red ce11', 'white ce11', 'plate1et'))),
        r"'red cell', .*Found: \('red ce11'.*Set .*metainfo=dict",
    ),
    'text as classes, #10627': (
        _dataset(metainfo=dict(classes='cell')),
        r"needs a comma: metainfo=dict\(classes=\('cell',\)\)",
    ),
    'a class without objects, #10668': (
        _another_class,
        r"no object of the classes.*Set .*metainfo=dict\(classes=\('red cell'",
    ),
    'no annotation, #10916': (
        lambda coco, dataset: coco['annotations'].clear(),
        rf'6 images, no annotations.*Set {DATASET}\.ann_file',
    ),
    'other ids of categories, #11557': (
        _other_ids('categories', 'id'),
        r'category_id must be one of the categories 101 to 103.*--fix',
    ),
    'annotations of no image, #11650': (
        _other_ids('annotations', 'image_id'),
        r'image_id must be the id of an image in the file.*--fix',
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_the_error_has_the_cause_and_the_line_to_change(case, coco, cells, config):
    change, message = CASES[case]
    cfg = config()
    change(coco, cfg.train_dataloader.dataset)
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
