"""No annotation file costs an epoch: what the data check lets through is trained and validated."""

import contextlib
import random
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from mmdet.models import BaseDetector
from mmdet.registry import MODELS
from mmdet.visualization import DetLocalVisualizer
from mmengine.logging import MessageHub, MMLogger
from mmengine.structures import InstanceData
from torch import nn

from se_det.engine.detector_runner import DetectorRunner
from se_det.engine.start import check_start
from se_det.errors import UsageError

from .mutated_exports import CLASSES, SIZES, check_many, mutated_export

ONE_PAGE_IN = 10  # files; a page takes longer than the training
WITH_MASKS = 'configs/mask_rcnn_se_r50.py'


@MODELS.register_module()
class CopyingDetector(BaseDetector):
    """Finds the objects that are there, a pixel away; one weight is trained."""

    def __init__(self, data_preprocessor, with_masks):
        super().__init__(data_preprocessor)
        self.weight = nn.Parameter(torch.zeros(()))
        self.with_masks = with_masks

    def loss(self, batch_inputs, batch_data_samples):
        number = sum(len(sample.gt_instances) for sample in batch_data_samples)
        return dict(loss=(self.weight - number) ** 2)

    def predict(self, batch_inputs, batch_data_samples):
        for sample in batch_data_samples:
            there = sample.gt_instances
            found = InstanceData(
                bboxes=there.bboxes + self.weight.sign(),
                labels=there.labels,
                scores=torch.linspace(0, 1, len(there)),
            )
            if self.with_masks:
                found.masks = there.masks.to_tensor(torch.bool, 'cpu')
            sample.pred_instances = found
        return batch_data_samples

    def extract_feat(self, batch_inputs):
        """Compute nothing."""

    _forward = extract_feat


def training(cfg, folder, hooks):
    """The config's training with a detector that costs no time: an iteration, then validation."""
    with_masks = 'mask_head' in cfg.model.roi_head
    load = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=with_masks),
        dict(type='PackDetInputs'),
    ]
    loaders = dict(num_workers=0, persistent_workers=False, batch_size=6)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(loaders)
        loader.dataset.pipeline = load
    cfg.update(
        work_dir=str(folder),
        experiment_name=folder.name,
        custom_hooks=hooks,
        test_dataloader=None,
        test_evaluator=None,
        test_cfg=None,
    )
    preprocessor = dict(type='DetDataPreprocessor', pad_mask=with_masks)
    cfg.model = dict(type='CopyingDetector', data_preprocessor=preprocessor, with_masks=with_masks)
    cfg.train_cfg.max_epochs = 1
    cfg.log_level = 'ERROR'
    return DetectorRunner.from_cfg(cfg)


def put_images(content, cells):
    """Images under the names that the file gives them, where there can be such names."""
    try:
        names = [image['file_name'] for image in content['images']]
    except (KeyError, TypeError):
        return
    for index, name in enumerate(names):
        with contextlib.suppress(TypeError, ValueError, OSError):
            path = cells / name
            if path.resolve().is_relative_to(cells.resolve()) and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(cells / f'{index % len(SIZES)}.png', path)


def check_case(seed, cells, config):
    export, rng = mutated_export(seed), random.Random(seed)
    (cells / 'train.json').write_text(export.text)
    put_images(export.content, cells)
    try:
        classes = tuple(category['name'] for category in export.content['categories'])
    except (KeyError, TypeError):
        classes = CLASSES
    with_masks = rng.random() < 0.5
    cfg = config(classes, config=WITH_MASKS) if with_masks else config(classes)
    if with_masks:
        cfg.model.roi_head.mask_head.num_classes = len(classes)
    try:
        check_start(cfg, ('train', 'val'))
    except UsageError:
        return 'refused'
    for kept in (DetLocalVisualizer, MessageHub, MMLogger):  # of each run, for ever
        kept._instance_dict.clear()
    folder = Path(f'run_{seed}')
    writes_page = seed % ONE_PAGE_IN == 0
    runner = training(cfg, folder, [dict(type='ReportHook')] if writes_page else [])
    runner.train()
    assert (folder / 'epoch_1.pth').is_file()
    assert 'val/coco/bbox_mAP' in runner.message_hub.log_scalars
    assert (folder / 'report.html').is_file() == writes_page
    shutil.rmtree(folder)
    return 'trained'


def test_30_mutated_exports(cells, config):
    check_many(range(30), partial(check_case, cells=cells, config=config), 'trained')


@pytest.mark.long
def test_10000_mutated_exports(cells, config):
    check_many(range(10_000), partial(check_case, cells=cells, config=config), 'trained')
