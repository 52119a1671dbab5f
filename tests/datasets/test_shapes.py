"""ShapesDataset draws itself once, exactly, and is a COCO data set to mmdet and pycocotools."""

import multiprocessing
import re
from pathlib import Path

import numpy as np
import pytest
from mmdet.registry import DATASETS
from pycocotools.coco import COCO

from se_det.datasets import ShapesDataset, shapes
from se_det.datasets.drawing import CATEGORIES
from se_det.errors import UsageError

NUM_IMAGES = 6


def build(data_root: Path, split: str = 'train', **kwargs) -> ShapesDataset:
    kwargs = dict(num_images=NUM_IMAGES, **kwargs) if 'num_images' not in kwargs else kwargs
    return ShapesDataset(split, data_root=str(data_root), **kwargs)


def annotations(data_root: Path, split: str = 'train') -> Path:
    return data_root / 'annotations' / f'instances_{split}.json'


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file under ``folder``, by path."""
    files = [path for path in sorted(folder.rglob('*')) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A folder with a training split, and the scenes that were drawn into it."""
    scenes = []
    real_draw_scene = shapes.draw_scene

    def draw_scene(rng):
        scenes.append(real_draw_scene(rng))
        return scenes[-1]

    with monkeypatch.context() as patch:
        patch.setattr(shapes, 'draw_scene', draw_scene)
        build(tmp_path)
    return tmp_path, scenes


def test_mmdet_and_pycocotools_load_what_was_drawn(drawn):
    data_root, scenes = drawn
    coco = COCO(str(annotations(data_root)))
    dataset = DATASETS.build(
        dict(
            type='ShapesDataset',
            split='train',
            num_images=NUM_IMAGES,
            data_root=str(data_root),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='mmdet.PackDetInputs'),
            ],
        )
    )
    for (pixels, instances), sample, image in zip(
        scenes, dataset, coco.dataset['images'], strict=True
    ):
        truth = sample['data_samples'].gt_instances
        np.testing.assert_array_equal(sample['inputs'].permute(1, 2, 0), pixels)
        assert (image['height'], image['width']) == pixels.shape[:2]
        np.testing.assert_array_equal(truth.masks.masks, [i.mask for i in instances])
        assert truth.labels.tolist() == [instance.category for instance in instances]
        np.testing.assert_array_equal(truth.bboxes.tensor, truth.masks.get_bboxes('hbox').tensor)
        found = coco.loadAnns(coco.getAnnIds(image['id']))
        for instance, annotation in zip(instances, found, strict=True):
            np.testing.assert_array_equal(coco.annToMask(annotation), instance.mask)
            assert annotation['area'] == instance.mask.sum()
            (category,) = coco.loadCats(annotation['category_id'])
            assert category['name'] == CATEGORIES[instance.category]
    names = [category['name'] for category in coco.dataset['categories']]
    assert names == list(ShapesDataset.METAINFO['classes'])
    assert len(set(ShapesDataset.METAINFO['palette'])) == len(CATEGORIES)


def test_equal_arguments_give_equal_bytes(drawn, tmp_path):
    data_root, _ = drawn
    build(tmp_path / 'again')
    again = contents(tmp_path / 'again')
    assert again == {name: contents(data_root)[name] for name in again} != {}
    build(tmp_path / 'few', num_images=2)  # the first of many
    assert contents(tmp_path / 'few' / 'train').items() < contents(data_root / 'train').items()


@pytest.mark.parametrize('other', [dict(seed=1), dict(split='val')], ids=str)
def test_another_seed_or_split_has_other_images(drawn, tmp_path, other):
    data_root, _ = drawn
    build(tmp_path / 'other', **other)
    first = contents(data_root / 'train')
    second = contents(tmp_path / 'other' / other.get('split', 'train'))
    assert list(first) == list(second)
    assert not set(first.values()) & set(second.values())


class TestSecondUse:
    def test_draws_nothing_and_writes_nothing(self, drawn, monkeypatch):
        data_root, _ = drawn
        before = {path: path.stat().st_mtime_ns for path in data_root.rglob('*')}

        def draw_scene(rng):
            raise AssertionError('drawn a second time')

        monkeypatch.setattr(shapes, 'draw_scene', draw_scene)
        build(data_root)
        assert {path: path.stat().st_mtime_ns for path in data_root.rglob('*')} == before

    @pytest.mark.parametrize('other', [dict(num_images=NUM_IMAGES + 1), dict(seed=1)], ids=str)
    def test_with_other_arguments_is_refused(self, drawn, other):
        data_root, _ = drawn
        ((name, value),) = other.items()
        remedy = f'Delete {data_root} to draw them again, or set data_root'
        with pytest.raises(UsageError, match=f"'{name}': {value}.*{re.escape(remedy)}"):
            build(data_root, **other)

    def test_after_the_drawing_changed_is_refused(self, drawn, monkeypatch):
        monkeypatch.setattr(shapes, 'DRAWING_VERSION', shapes.DRAWING_VERSION + 1)
        with pytest.raises(UsageError, match='to draw them again'):
            build(drawn[0])

    def test_files_of_an_interrupted_run_are_overwritten(self, drawn):
        data_root, _ = drawn
        complete = contents(data_root)
        annotations(data_root).unlink()
        first, second, *_ = sorted((data_root / 'train').iterdir())
        first.write_bytes(first.read_bytes()[:100])
        second.unlink()
        build(data_root)
        assert contents(data_root) == complete

    def test_an_interrupted_run_leaves_no_annotations(self, tmp_path, monkeypatch):
        def draw_scene(rng):
            raise KeyboardInterrupt

        monkeypatch.setattr(shapes, 'draw_scene', draw_scene)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path)
        assert not annotations(tmp_path).exists()


def draw_together(data_root: Path, barrier) -> None:
    barrier.wait()
    shapes.draw_split(data_root, 'train', 12, seed=0)


def test_two_processes_at_once_draw_the_same_as_one(tmp_path):
    fork = multiprocessing.get_context('fork')
    barrier = fork.Barrier(2)
    processes = [
        fork.Process(target=draw_together, args=(tmp_path / 'two', barrier)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    shapes.draw_split(tmp_path / 'one', 'train', 12, seed=0)
    assert [process.exitcode for process in processes] == [0, 0]
    assert contents(tmp_path / 'two') == contents(tmp_path / 'one')


@pytest.mark.parametrize('split', ['test', 'Train', '', None])
def test_an_unknown_split_is_refused(tmp_path, split):
    with pytest.raises(UsageError, match=re.escape(f"one of ('train', 'val'); got {split!r}.")):
        build(tmp_path, split)


def test_nothing_is_drawn_before_the_data_is_used(tmp_path):
    dataset = build(tmp_path, lazy_init=True)
    assert dataset.metainfo['classes'] == CATEGORIES and not list(tmp_path.iterdir())
    dataset.full_init()
    assert len(dataset) == NUM_IMAGES
