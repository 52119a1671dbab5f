"""The whole check: what it prints, what it writes, and that it changes no file of the user."""

import io
import json

import pytest
from rich.console import Console

from se_det.datasets.check.full import check_dataset


@pytest.fixture
def printed(config):
    """Run the whole check on the training data; returns the verdict and what was printed."""

    def check(fix=False, **dataset):
        console = Console(file=io.StringIO(), width=200)
        well = check_dataset(config(**dataset), ('train',), fix, console)
        return well, console.file.getvalue()

    return check


def test_all_is_well(printed):
    well, text = printed()
    assert well
    assert '6 images, 0 of them without objects; 6 sizes' in text
    assert text.endswith('All is well.\n')


def test_images_without_objects(coco, cells, printed):
    coco['annotations'] = [a for a in coco['annotations'] if a['image_id'] != 12]
    (cells / 'train.json').write_text(json.dumps(coco))
    filters = dict(filter_empty_gt=True, min_size=32)
    assert (
        '1 of them without objects, which the config leaves out' in printed(filter_cfg=filters)[1]
    )
    filters = dict(filter_empty_gt=False, min_size=32)
    assert '1 of them without objects, which the config uses' in printed(filter_cfg=filters)[1]


def test_copies_do_not_overwrite(coco, cells, printed):
    coco['annotations'][4]['area'] = 0
    (cells / 'train.json').write_text(json.dumps(coco))
    before = (cells / 'train.json').read_bytes()
    for name in ('train.fixed.json', 'train.fixed2.json'):
        well, text = printed(fix=True)
        assert not well
        assert f'Written: cells/{name}' in text
        assert f'--cfg-options train_dataloader.dataset.ann_file={name}' in text
    assert (cells / 'train.json').read_bytes() == before
    assert printed(ann_file='train.fixed.json')[0]


@pytest.mark.parametrize(
    ('dataset', 'message'),
    [
        (dict(ann_file='gone.json'), 'cells/gone.json does not exist'),
        (dict(metainfo=dict(classes=('red cell', 'blue cell'))), 'The class list of train'),
        (dict(filter_cfg=dict(min_size=99)), 'leaves no image'),
    ],
)
def test_a_config_that_does_not_fit(dataset, message, printed):
    well, text = printed(**dataset)
    assert not well
    assert message in text
    assert text.endswith('There are errors.\n')


def test_broken_records_do_not_break_the_summary(coco, cells, printed):
    coco['images'].append(3)
    coco['categories'].append(None)
    coco['annotations'] += [None, dict(id=[]), dict(id=99, area='x')]
    (cells / 'train.json').write_text(json.dumps(coco))
    well, text = printed(fix=True)
    assert not well
    assert 'red cell' in text
    assert printed(ann_file='train.fixed.json')[0]
