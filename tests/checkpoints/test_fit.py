"""mmengine's loading raises for a state dict that does not fit the backbone."""

import re

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner import load_checkpoint

from se_det.checkpoints.fit import refuse_se_in_plain_backbones
from se_det.errors import UsageError


def _without(weights, pattern):
    return {key: tensor for key, tensor in weights.items() if not re.search(pattern, key)}


LOAD_FROM = [
    (lambda w: w, None),
    (lambda w: {key: w[key] for key in w if 'num_batches' not in key}, None),
    (lambda w: _without(w, r'^neck|fc_cls'), None),
    (lambda w: _without(w, r'\.se\.'), r'64 missing: {0}layer1\.0\.se\.fc1\.weight.*\n.*--graft'),
    (lambda w: _without(w, r'^backbone'), None),
    (lambda w: {**w, 'backbone.extra': torch.zeros(1)}, r'1 unexpected: {0}extra'),
    (lambda w: {**w, 'backbone.conv1.weight': torch.zeros(1)}, '1 of another shape: {0}conv1'),
]


@pytest.mark.parametrize(
    ('kind', 'change', 'message'),
    [
        *(('detector', *case) for case in LOAD_FROM),
        *(('DataParallel', *case) for case in LOAD_FROM[3:4]),
        *(('teacher and student', *case) for case in (LOAD_FROM[0], LOAD_FROM[3])),
    ],
)
def test_mmengine_does_not_load_a_part_of_a_backbone(tmp_path, faster_rcnn, kind, change, message):
    cfg = faster_rcnn('SEResNet')
    weights = MODELS.build(cfg).state_dict()
    prefix = ''
    if kind == 'teacher and student':  # mmdet loads a detector's file into both
        cfg = dict(type='SoftTeacher', detector=cfg, data_preprocessor=None)
        cfg['semi_train_cfg'] = dict(freeze_teacher=False)
        prefix = 'student.'
    model = MODELS.build(cfg)
    checkpoint = change(weights)
    if kind == 'DataParallel':
        checkpoint = {f'module.{key}': tensor for key, tensor in checkpoint.items()}
    torch.save(dict(state_dict=checkpoint), tmp_path / 'weights.pth')
    if message is None:
        load_checkpoint(model, str(tmp_path / 'weights.pth'))
        key = next(iter(checkpoint)).removeprefix('module.')
        assert torch.equal(model.state_dict()[prefix + key], weights[key])
    else:
        with pytest.raises(UsageError, match=message.format(rf'{prefix}backbone\.')):
            load_checkpoint(model, str(tmp_path / 'weights.pth'))


def test_a_plain_backbone_refuses_the_weights_of_an_se_one(tmp_path, faster_rcnn):
    weights = MODELS.build(faster_rcnn('SEResNet')).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'weights.pth')
    model = MODELS.build(faster_rcnn('ResNet'))
    refuse_se_in_plain_backbones(model)
    with pytest.raises(UsageError, match=r'ResNet at backbone\. does not: .*se\.fc1.*Add --se'):
        load_checkpoint(model, str(tmp_path / 'weights.pth'))
