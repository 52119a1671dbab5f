"""An image that cannot be read: replaced in training, without detections in validation."""

import os
import pickle
import shutil
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, METRICS, MODELS
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from se_det.datasets.drawing import CATEGORIES
from se_det.datasets.shapes import draw_split
from se_det.engine.unreadable_images import (
    GuardedLoading,
    UnreadableImageError,
    UnreadableImagesHook,
)
from se_det.errors import UsageError

SEEN, DETECTIONS = [], []
NUMBERS = count()


@MODELS.register_module()
class SeesImages(BaseModel):
    """Notes the images that it is given, and learns nothing."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        SEEN.extend(os.path.basename(sample.img_path) for sample in data_samples)
        if mode == 'loss':
            return dict(loss=self.weight.sum())
        for sample in data_samples:
            found = dict(bboxes=torch.ones(1, 4), scores=torch.ones(1), labels=torch.tensor([0]))
            sample.pred_instances = InstanceData(**found)
        return data_samples


@METRICS.register_module()
class CountDetections(BaseMetric):
    """How many detections each image has."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            name = os.path.basename(sample['img_path'])
            self.results.append((name, len(sample['pred_instances']['bboxes'])))

    def compute_metrics(self, results):
        DETECTIONS.append(dict(results))
        return {}


@HOOKS.register_module()
class AnotherPipelineHook(Hook):
    """Sets a pipeline in the middle of a training, as mmdet's PipelineSwitchHook does."""

    def before_train_epoch(self, runner):
        dataset = runner.train_dataloader.dataset
        dataset.pipeline.transforms[0] = LoadImageFromFile()


@HOOKS.register_module()
class BreakAnImageHook(Hook):
    """Damages an image after the first epoch."""

    def after_val(self, runner):
        if runner.epoch == 1:
            type(self).damage()


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Eight scenes; returns their folder."""
    folder = tmp_path_factory.mktemp('shapes')
    draw_split(folder, 'train', 8, 0)
    return folder


@pytest.fixture
def shapes(drawn, tmp_path, monkeypatch):
    """The scenes in the current folder; returns the folder of the images."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn, 'shapes')
    SEEN.clear()
    return tmp_path / 'shapes' / 'train'


def _runner(limit=3, workers=0, hooks=(), wrap=dict, epochs=2, guarded=True, val=False, **load):
    """Make a runner; ``wrap`` makes the training data of the config of a data set."""
    dataset = dict(
        type='CocoDataset',
        data_root='shapes/',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=CATEGORIES),
        pipeline=[dict(type='LoadImageFromFile', **load), dict(type='PackDetInputs')],
    )
    loader = dict(batch_size=2, num_workers=workers, collate_fn=dict(type='pseudo_collate'))
    in_order = dict(
        **loader,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(**dataset, test_mode=True),
    )
    validation = dict(
        val_dataloader=in_order, val_evaluator=dict(type='CountDetections'), val_cfg=dict()
    )
    shuffled = dict(type='DefaultSampler', shuffle=True)
    cfg = dict(
        model=dict(type='SeesImages'),
        work_dir='work',
        default_scope='mmdet',
        train_dataloader=dict(**loader, sampler=shuffled, dataset=wrap(dataset)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        test_dataloader=in_order,
        test_evaluator=dict(type='DumpDetResults', out_file_path='out.pkl'),
        test_cfg=dict(),
        custom_hooks=list(hooks),
        randomness=dict(seed=0),
        experiment_name=f'run {next(NUMBERS)}',  # a logger of its own
        **(validation if val else {}),
    )
    runner = Runner.from_cfg(Config(cfg))
    if guarded:
        runner.register_hook(UnreadableImagesHook(limit))
    return runner


DAMAGE = {
    'missing': lambda path: path.unlink(),
    'empty': lambda path: path.write_bytes(b''),
    'cut off': lambda path: path.write_bytes(path.read_bytes()[:500]),
    'no image': lambda path: path.write_bytes(b'<html>'),
}


@pytest.mark.parametrize(('damage', 'workers'), [*((damage, 0) for damage in DAMAGE), ('empty', 2)])
def test_replaced_in_training(damage, workers, shapes):
    DAMAGE[damage](shapes / '000003.png')
    _runner(workers=workers).train()
    assert len(SEEN) == 16
    assert '000003.png' not in SEEN
    (log,) = Path('work').rglob('*.log')
    text = log.read_text()
    assert text.count('shapes/train/000003.png') == 1
    assert '1 images could not be read and were replaced' in text


@pytest.mark.parametrize('workers', [0, pytest.param(2, marks=pytest.mark.long)])
def test_more_than_the_limit(workers, shapes):
    for index in range(4):
        (shapes / f'00000{index}.png').write_bytes(b'')
    with pytest.raises(UnreadableImageError) as error:
        _runner(limit=3, workers=workers).train()
    message = str(error.value)
    assert 'Traceback' not in message
    for part in ('is an empty file', 'max_unreadable_images=3', 'python -m se_det check_dataset'):
        assert part in message


@pytest.mark.parametrize(
    ('damage', 'workers', 'load'),
    [
        ('missing', 0, {}),
        ('cut off', 2, dict(color_type='unchanged', to_float32=True)),
        *(pytest.param(damage, 0, {}, marks=pytest.mark.long) for damage in ('empty', 'no image')),
        pytest.param('missing', 0, dict(color_type='grayscale'), marks=pytest.mark.long),
    ],
)
def test_without_detections_in_validation(damage, workers, load, shapes):
    """An image breaks between two validations: each is whole, and the training goes on."""
    DETECTIONS.clear()
    runner = _runner(workers=workers, hooks=[dict(type='BreakAnImageHook')], val=True, **load)
    BreakAnImageHook.damage = lambda: DAMAGE[damage](shapes / '000005.png')
    runner.train()
    names = [f'00000{index}.png' for index in range(8)]
    assert [dict.fromkeys(names, 1), {**dict.fromkeys(names, 1), '000005.png': 0}] == DETECTIONS
    text = next(Path('work').rglob('*.log')).read_text()
    assert text.count('shapes/train/000005.png') == 2  # in training and in validation
    assert '1 images could not be read and count as without detections in this validation' in text


def test_an_image_that_lacks_its_end_is_used(shapes):
    path = shapes / '000003.png'
    path.write_bytes(path.read_bytes()[:-5])
    _runner(limit=0, val=True).train()
    assert SEEN.count('000003.png') == 4
    assert DETECTIONS[-1]['000003.png'] == 1


@pytest.mark.parametrize('workers', [0, pytest.param(2, marks=pytest.mark.long)])
def test_an_error_in_test(workers, shapes):
    (shapes / '000005.png').unlink()
    with pytest.raises(UnreadableImageError, match=r'^shapes/train/000005\.png cannot be read: No'):
        _runner(workers=workers).test()


@pytest.mark.parametrize(
    'wrap',
    [
        lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset),
        lambda dataset: dict(type='ConcatDataset', datasets=[dataset, dataset]),
        lambda dataset: dict(type='MultiImageMixDataset', dataset=dataset, pipeline=[]),
    ],
)
def test_wrappers(wrap, shapes):
    (shapes / '000003.png').unlink()
    _runner(wrap=wrap, epochs=1).train()
    assert SEEN and '000003.png' not in SEEN


def test_a_pipeline_that_another_hook_sets(shapes):
    (shapes / '000003.png').unlink()
    _runner(hooks=[dict(type='AnotherPipelineHook')]).train()
    assert '000003.png' not in SEEN


@pytest.mark.parametrize('workers', [0, 2])
def test_nothing_changes_while_all_images_can_be_read(workers, shapes):
    runs = []
    for guarded in (True, False):
        SEEN.clear()
        _runner(workers=workers, guarded=guarded, val=True).train()
        runs.append((list(SEEN), np.random.random() if workers == 0 else None))
    assert runs[0] == runs[1]


def test_a_guarded_transform_can_be_pickled(shapes):
    guard = GuardedLoading(LoadImageFromFile(to_float32=True), 3, torch.zeros(8))
    copy = pickle.loads(pickle.dumps(guard))
    assert copy.to_float32
    assert copy(dict(img_path=str(shapes / '000003.png')))['img'].dtype == np.float32


@pytest.mark.parametrize('limit', [-1, '3', 1.5, None])
def test_a_wrong_limit(limit):
    with pytest.raises(UsageError, match='max_unreadable_images must be 0 or a positive integer'):
        UnreadableImagesHook(limit)
