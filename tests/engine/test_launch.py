"""Mistakes of a user raise one error that says what to type next."""

import gc
import json
import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from se_det.engine import launch
from se_det.engine.detector_runner import DetectorRunner
from se_det.engine.launch import load_config, train
from se_det.engine.start.data import check_data
from se_det.errors import UsageError

R50 = 'configs/faster_rcnn_se_r50.py'
SHAPES = 'configs/faster_rcnn_se_r50_shapes.py'
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
CLASSES = ['red cell', 'white cell']
TRAIN = 'train_dataloader.dataset'


@pytest.fixture(autouse=True)
def checkout(tmp_path, tmp_path_factory, monkeypatch):
    """A checkout without data, and another empty folder as the current one."""
    folder = tmp_path_factory.mktemp('checkout')
    (folder / 'pyproject.toml').touch()
    monkeypatch.setattr(launch, 'CHECKOUT', folder)
    monkeypatch.chdir(tmp_path)
    return folder


def _options(classes, **changed):
    """Options that point a COCO config to the data set in ``cells/``."""
    options = {'model.roi_head.bbox_head.num_classes': len(classes)}
    for loader, split in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = f'{loader}_dataloader.dataset'
        options[f'{dataset}.data_root'] = 'cells/'
        options[f'{dataset}.ann_file'] = f'annotations/instances_{split}.json'
        options[f'{dataset}.data_prefix.img'] = f'{split}/'
        options[f'{dataset}.metainfo.classes'] = tuple(classes)
        options[f'{loader}_evaluator.ann_file'] = f'cells/annotations/instances_{split}.json'
    del options['train_evaluator.ann_file']
    return options


@pytest.fixture
def cells(tmp_path):
    """A data set of two classes in COCO's format, in ``cells/``; returns its folder."""
    for split in ('train', 'val'):
        (tmp_path / 'cells' / split).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'cells' / split / 'a "1".jpg'), np.zeros((48, 64, 3), np.uint8))
        coco = dict(
            images=[dict(id=1, file_name='a "1".jpg', width=64, height=48)],
            annotations=[dict(id=1, image_id=1, category_id=5, bbox=[1, 2, 3, 4], area=12)],
            categories=[dict(id=5, name='red cell'), dict(id=7, name='white cell')],
        )
        file = tmp_path / 'cells' / 'annotations' / f'instances_{split}.json'
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(coco))
    return tmp_path / 'cells'


def test_missing_coco_is_an_error_with_what_to_type():
    with pytest.raises(UsageError) as error:
        train(R50)
    for part in ('data/coco/annotations/instances_train2017.json', 'ln -s', 'make train'):
        assert part in str(error.value)


def test_a_config_that_raises(tmp_path):
    (tmp_path / 'mine.py').write_text('model = dict(\n')
    with pytest.raises(UsageError, match=r'mine\.py cannot be read as a config: .*never closed'):
        train('mine.py')


@pytest.fixture
def started_with(monkeypatch):
    """Train on the shapes up to the start of the runner, and return its config."""

    def start(**arguments):
        def build(cfg, launcher, whole_checkpoint):
            runner = SimpleNamespace(cfg=cfg, train=lambda: None, register_hook=lambda _: None)
            built.append(runner)
            return runner

        built = []
        monkeypatch.setattr(launch, '_build_runner', build)
        train(SHAPES, **arguments)
        return built[0].cfg

    return start


def test_resume_without_a_checkpoint_starts_training(started_with, log):
    cfg = started_with(resume='auto', work_dir='w', cfg_options=dict(load_from='a.pth'))
    assert (cfg.get('resume', False), cfg.load_from) == (False, 'a.pth')
    assert any('Nothing to resume in w' in text for text in log)


@pytest.mark.parametrize('resume', ['auto', 'w/epoch_1.pth'])
def test_resume_loads_the_state_of_a_run(started_with, tmp_path, resume):
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w/last_checkpoint').write_text('w/epoch_1.pth')
    state = dict(state_dict={}, message_hub={}, meta=dict(epoch=1, iter=3))
    torch.save(state, tmp_path / 'w/epoch_1.pth')
    cfg = started_with(resume=resume, work_dir='w', cfg_options=dict(load_from='a.pth'))
    assert (cfg.resume, cfg.load_from) == (True, 'w/epoch_1.pth')


@pytest.mark.parametrize(
    'state',
    [
        {},
        dict(state_dict={}),
        dict(state_dict={}, meta=dict(se_det={})),
        dict(state_dict={}, meta=dict(epoch=12, iter=9)),
    ],
    ids=['bare', 'weights alone', 'converted', 'published'],
)
def test_resume_from_weights_alone_suggests_load_from(started_with, tmp_path, state):
    torch.save(state, tmp_path / 'weights.pth')
    with pytest.raises(UsageError, match=r'type instead of --resume: .*load_from=weights\.pth'):
        started_with(resume='weights.pth')


@pytest.mark.parametrize(
    ('run', 'arguments', 'message'),
    [
        (train, dict(amp=True), '--amp needs a GPU'),
        (train, dict(resume='gone.pth'), r'No checkpoint file gone\.pth'),
        (train, dict(work_dir='file/x'), 'file is a file; file/x must be a folder'),
        (train, dict(launcher='pytorch'), 'torchrun .* -m se_det train CONFIG --launcher'),
        (launch.test, dict(checkpoint='gone.pth'), r'No checkpoint file gone\.pth'),
        (launch.test, dict(checkpoint='gone.pth', out='a.json'), r'--out must end in \.pkl'),
    ],
)
def test_arguments_of_train_and_test(tmp_path, monkeypatch, run, arguments, message):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    monkeypatch.delenv('RANK', raising=False)
    (tmp_path / 'file').touch()
    with pytest.raises(UsageError, match=message):
        run(SHAPES, **arguments)


def test_auto_scale_lr_without_a_base(tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'")
    with pytest.raises(UsageError, match=r'auto_scale_lr = dict\(base_batch_size=16\)'):
        train('mine.py', auto_scale_lr=True)


@pytest.mark.parametrize(
    ('classes', 'changed', 'message'),
    [
        (['red cell', 'bacterium'], {}, r"in this order: \('red cell', 'white cell'\)"),
        (['white cell', 'red cell'], {}, r"Found: \('white cell', 'red cell'\)"),
        (CLASSES, {'model.roi_head.bbox_head.num_classes': 80}, 'num_classes must be .* 2; got 80'),
        (
            CLASSES,
            {'val_evaluator.ann_file': 'cells/annotations/instances_train.json'},
            r'val_evaluator\.ann_file must be the annotations of its data set',
        ),
        (CLASSES, {f'{TRAIN}.data_prefix.img': 'elsewhere/'}, 'cells/elsewhere does not exist'),
        (CLASSES, {f'{TRAIN}.type': 'CocoDatset'}, "No data set class 'CocoDatset'"),
    ],
)
def test_data_that_does_not_fit(cells, classes, changed, message):
    with pytest.raises(UsageError, match=message):
        train(R50, cfg_options={**_options(classes), **changed})


def test_a_subset_of_the_classes_is_fine(cells, tiny):
    """The checks pass, so that the first error is that of the missing weights."""
    weights = dict(type='SEPretrained', checkpoint='no-such-file')
    options = {**tiny, **_options(CLASSES[:1]), 'model.backbone.init_cfg': weights}
    with pytest.raises(UsageError, match="No weights 'no-such-file'"):
        train(R50, cfg_options=options)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('type', 'LVISV1Dataset'),
        ('type', 'CocoPanopticDataset'),
        ('data_root', 's3://bucket/coco/'),
    ],
)
def test_data_of_other_formats_is_not_checked(cells, name, value):
    cfg = load_config(R50, cfg_options={**_options(['bacterium']), f'{TRAIN}.{name}': value})
    check_data(cfg, ('train',))
    with pytest.raises(UsageError, match='The class list of val_dataloader'):
        check_data(cfg, ('train', 'val'))


def test_data_sets_in_wrappers_are_checked(cells):
    cfg = load_config(R50, cfg_options=_options(['bacterium']))
    dataset = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[dataset])
    )
    with pytest.raises(UsageError, match='The class list of train_dataloader'):
        check_data(cfg, ('train',))


def test_data_are_not_checked_without_the_check(tiny):
    with pytest.raises(UsageError, match='FileNotFoundError'):  # of MMDetection itself
        train(R50, cfg_options=tiny, data_check=False)


def test_work_dir_is_named_after_the_config():
    assert load_config(R50).work_dir == 'work_dirs/faster_rcnn_se_r50'
    assert load_config(R50, work_dir='elsewhere').work_dir == 'elsewhere'


def test_data_in_the_current_folder_is_preferred_to_the_checkouts(checkout, tmp_path):
    (checkout / 'data/coco').mkdir(parents=True)
    assert (checkout / 'data/coco').samefile(load_config(R50).train_dataloader.dataset.data_root)
    (tmp_path / 'data/coco').mkdir(parents=True)
    assert load_config(R50).train_dataloader.dataset.data_root == 'data/coco/'


def test_se_loads_the_twin_of_the_config_with_its_options():
    options = {'model.backbone.depth': 101, 'model.backbone.se_cfg.reduction': 8}
    cfg = load_config(RETINANET, None, options, se=True)
    assert (cfg.model.backbone.type, cfg.model.backbone.depth) == ('SEResNet', 101)
    assert cfg.model.backbone.se_cfg == dict(reduction=8)
    assert cfg.model.backbone.init_cfg.checkpoint == 'torchvision://resnet50'  # to graft to
    assert cfg.work_dir == 'work_dirs/retinanet_r50_fpn_1x_coco_se'
    cfg = load_config(RETINANET, None, dict(load_from='detector.pth'), se=True)
    assert cfg.load_from is None
    assert cfg.model.init_cfg == dict(type='SEPretrained', checkpoint='detector.pth', graft=True)
    for run in (train, lambda *args, **se: launch.test(*args, 'weights.pth', **se)):
        with pytest.raises(UsageError, match='SwinTransformer'):
            run('mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', se=True)


@pytest.mark.skipif(os.geteuid() == 0, reason='not run: root writes everywhere')
def test_a_work_dir_that_is_not_writable(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match='is not writable'):
        train(SHAPES, work_dir='w')


def test_no_garbage_is_collected_while_a_data_set_is_read():
    class Numbers(torch.utils.data.Dataset):
        def __init__(self):
            self.collects = gc.isenabled()

        def __len__(self):
            return 4

    loader = dict(
        dataset=dict(type=Numbers), sampler=dict(type='mmengine.DefaultSampler'), batch_size=2
    )
    assert not DetectorRunner.build_dataloader(loader).dataset.collects
    assert gc.isenabled()
