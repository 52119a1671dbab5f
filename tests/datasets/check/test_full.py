"""The whole check: what it prints, what it writes, and that it changes no file of the user."""

import io
import json

import pytest
from rich.console import Console

from se_det.datasets.check.full import check_dataset
from se_det.errors import UsageError


@pytest.fixture
def printed(config, cells):
    """Write annotations, run the whole check on them; returns the verdict and what was printed."""

    def check(content=None, fix=False, choices=(), **dataset):
        if content is not None:
            (cells / 'train.json').write_text(json.dumps(content))
        console = Console(file=io.StringIO(), width=200)
        well = check_dataset(config(**dataset), ('train',), fix, console, choices)
        return well, console.file.getvalue()

    return check


def test_all_is_well(printed):
    well, text = printed()
    assert well
    assert '6 images, 0 of them without objects; 6 sizes' in text
    assert text.endswith('All is well.\n')


def test_images_without_objects(coco, printed):
    coco['annotations'] = [a for a in coco['annotations'] if a['image_id'] != 12]
    for drops, verb in ((True, 'leaves out'), (False, 'uses')):
        _, text = printed(coco, filter_cfg=dict(filter_empty_gt=drops))
        assert f'1 of them without objects, which the config {verb}' in text


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


def test_broken_records_do_not_break_the_summary(coco, printed):
    coco['images'].append(3)
    coco['categories'].append(None)
    coco['annotations'] += [None, dict(id=[]), dict(id=99, area='x')]
    well, text = printed(coco, fix=True)
    assert not well
    assert 'red cell' in text
    assert printed(ann_file='train.fixed.json')[0]


def _written(cells):
    return sorted(path.name for path in cells.glob('*.fixed*.json'))


def test_nothing_is_written_while_something_is_unclear(coco, cells, printed):
    for annotation in coco['annotations']:
        annotation['category_id'] -= 1
    well, text = printed(coco, fix=True)
    assert not well
    assert 'two readings: category_id counts from another start' in text
    assert 'Nothing is written' in text and 'To use it' not in text
    assert not _written(cells)
    well, text = printed(fix=True, choices=['category_id+1'])
    assert '18 category_id written as that of its category' in text
    assert printed(ann_file='train.fixed.json')[0]


def test_a_choice_that_is_none(printed):
    with pytest.raises(UsageError, match='--read-as xyz is no reading'):
        printed(fix=True, choices=['xyz'])


@pytest.mark.parametrize(
    ('key', 'value'), [('image_id', 'gone'), ('bbox', [500, 500, 9, 9]), ('bbox', None)]
)
def test_a_file_with_nothing_left_is_not_offered(key, value, coco, cells, printed):
    for annotation in coco['annotations']:
        annotation[key] = value
        annotation.pop('segmentation', None)
        annotation['iscrowd'] = 0
    well, text = printed(coco, fix=True)
    assert not well
    assert 'No annotation is left' in text and 'To use it' not in text
    assert not _written(cells)


def test_categories_that_are_there_twice(coco, printed):
    coco['categories'] *= 3
    _, text = printed(coco, fix=True)
    assert text.count(' red cell ') == 1
    assert '6 categories that were there twice merged' in text
    assert printed(ann_file='train.fixed.json')[0]


@pytest.mark.parametrize(
    'name',
    ['C:\\scans\\{}', '..\\{}', '/storage/user/{}', 's3://bucket/a/{}', '?d=cells/{}', 'train/{}'],
)
def test_file_names_with_the_path_of_another_machine(name, coco, printed, verdict):
    for image in coco['images']:
        image['file_name'] = name.format(image['file_name'])
    message = verdict(coco)
    for part in ('must be a path below cells with forward slashes', "expected '0.png'"):
        assert part in message
    _, text = printed(fix=True)
    assert 'must be a path below cells with forward slashes' in text
    assert '6 file names set to the path below the folder of images' in text
    assert printed(ann_file='train.fixed.json')[0]


def test_a_last_part_that_is_not_unique(coco, cells, printed):
    for name, folder in (('0.png', 'a'), ('0.png', 'b')):
        (cells / folder).mkdir()
        (cells / folder / name).write_bytes((cells / name).read_bytes())
    (cells / '0.png').unlink()
    _, text = printed(fix=True)
    assert 'left out: images whose file cannot be read: 0.png' in text
    assert 'file names set' not in text


def test_brush_masks_among_polygons(coco, printed):
    assert '1 annotations among polygons are run lengths with iscrowd=1' in printed()[1]
    coco['annotations'][7]['iscrowd'] = 0
    assert 'run lengths' not in printed(coco)[1]


@pytest.mark.parametrize('name', ['[/red]', '[red]cell', 'cell \udcff', '\ud800'])
def test_names_that_a_terminal_cannot_show(name, coco, cells, config):
    coco['categories'][0]['name'] = name
    coco['annotations'][0]['area'] = 0
    (cells / 'train.json').write_text(json.dumps(coco))
    with (cells / 'printed.txt').open('w', encoding='utf-8') as file:
        cfg = config(classes=(name, 'white cell', 'platelet'))
        check_dataset(cfg, ('train',), True, Console(file=file, width=200))
    text = (cells / 'printed.txt').read_text()
    assert name.encode(errors='backslashreplace').decode() in text
    assert 'To use it' in text
