"""The twin differs from the config only by SE in its backbone and what SE requires."""

import re
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.backbones import ResNet, ResNeXt
from mmdet.models.backbones.resnet import ResNetV1d
from mmdet.registry import MODELS
from mmengine.config import Config

from se_det import swap_backbone
from se_det.backbones import SEResNet
from se_det.config_files import read_config
from se_det.engine.launch import load_config
from se_det.errors import UsageError

FASTER_RCNN = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'


def without(cfg, *paths):
    """The config as a dict, without some of its values."""
    cfg = deepcopy(cfg.to_dict())
    for path in paths:
        *owners, key = path.split('.')
        inner = cfg
        for owner in owners:
            inner = inner[owner]
        inner.pop(key, None)
    return cfg


def test_only_the_backbone_its_weights_and_the_import_change():
    base = read_config(FASTER_RCNN)
    before = deepcopy(base.to_dict())
    twin = swap_backbone(base)
    assert base.to_dict() == before
    assert twin.custom_imports.imports == ['se_det']
    assert twin.model.backbone.type == 'SEResNet'
    assert twin.model.backbone.init_cfg == dict(
        type='SEPretrained', checkpoint='mmpretrain/se_resnet50'
    )
    changed = ('model.backbone.type', 'model.backbone.init_cfg', 'custom_imports')
    assert without(twin, *changed) == without(base, *changed)
    assert swap_backbone(FASTER_RCNN).to_dict() == twin.to_dict()


@given(
    arguments=st.fixed_dictionaries(
        {},
        optional=dict(
            num_stages=st.integers(1, 4),
            out_indices=st.tuples(st.integers(0, 3)),
            frozen_stages=st.integers(-1, 4),
            norm_cfg=st.sampled_from([dict(type='SyncBN'), dict(type='GN', num_groups=32)]),
            norm_eval=st.booleans(),
            with_cp=st.booleans(),
            zero_init_residual=st.booleans(),
            deep_stem=st.booleans(),
            avg_down=st.booleans(),
            dcn=st.just(dict(type='DCNv2', deform_groups=1)),
            plugins=st.just([dict(cfg=dict(type='ContextBlock'), position='after_conv2')]),
        ),
    ),
    kind=st.sampled_from(['ResNet', 'ResNeXt', 'mmdet.ResNet', ResNet, ResNeXt]),
    depth=st.sampled_from([50, 101, 152]),
)
def test_every_argument_is_kept(arguments, kind, depth, config):
    base = config(type=kind, depth=depth, **arguments)
    twin = swap_backbone(base)
    for name, value in base.model.backbone.items():
        if name not in ('type', 'init_cfg', 'style'):
            assert twin.model.backbone[name] == value
    added = twin.model.backbone.keys() - base.model.backbone.keys()
    assert added <= {'style', 'stem_pool'}


@pytest.mark.parametrize(
    ('kind', 'swapped'),
    [
        ('ResNet', 'SEResNet'),
        ('mmdet.ResNeXt', 'mmdet.SEResNeXt'),
        (ResNet, 'mmdet.SEResNet'),
        (ResNeXt, 'mmdet.SEResNeXt'),
        (ResNetV1d, 'mmdet.SEResNet'),
    ],
)
def test_a_type_has_the_scope_of_its_name_or_class(kind, swapped, config):
    assert swap_backbone(config(type=kind)).model.backbone.type == swapped


def test_v1d_becomes_deep_stem_and_avg_down(config):
    backbone = swap_backbone(config(type='ResNetV1d', init_cfg=None)).model.backbone
    v1d = dict(depth=50, deep_stem=True, avg_down=True, init_cfg=None)
    assert backbone == dict(v1d, type='SEResNet')
    plain = MODELS.build(dict(type='ResNetV1d', depth=50, base_channels=8))
    ours = MODELS.build(dict(backbone, base_channels=8))
    assert plain.state_dict().keys() <= ours.state_dict().keys()


def test_se_cfg_is_given_to_the_backbone(config):
    backbone = swap_backbone(config(init_cfg=None), reduction=8, fused=False).model.backbone
    assert backbone.se_cfg == dict(reduction=8, fused=False)
    for wrong in (
        dict(ratio=8),
        dict(reduction=0),
        dict(reduction=(16, 16, 16)),
        dict(stages=(True, False)),
    ):
        with pytest.raises(UsageError, match='se_cfg'):
            swap_backbone(config(), **wrong)
    last = dict(reduction=512, stages=(False, False, False, True))
    assert swap_backbone(config(depth=18), **last).model.backbone.se_cfg == last


class TestPlaces:
    """Backbones are found anywhere in a model."""

    def test_teacher_and_student_of_one_detector(self, rgb, log):
        base = read_config(
            'mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py'
        )
        twin = swap_backbone(base)
        assert twin.model.detector.backbone.type == 'SEResNet'
        for images in (
            twin.model.detector.data_preprocessor,
            twin.model.data_preprocessor.data_preprocessor,
        ):
            assert images.bgr_to_rgb and images.mean == rgb['mean']
        base.load_from = 'mine.pth'
        assert swap_backbone(base).load_from == 'mine.pth'
        assert 'load_from: mine.pth, not changed: it must be of an SE detector' in log[-1]

    def test_a_tracker(self, log):
        name = (
            'mmdet::deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval'
        )
        twin = swap_backbone(name)
        assert twin.model.detector.backbone.type == 'SEResNet'
        reid = twin.model.reid
        assert reid.backbone.type == 'mmdet.SEResNet'
        assert (reid.backbone.out_indices, reid.backbone.norm_eval) == ((3,), False)
        assert 'model.reid.backbone: mmpretrain.ResNet-50 -> SEResNet' in log[-1]
        own = swap_backbone(name, checkpoint='mine.pth').model
        assert own.detector.init_cfg.checkpoint == 'mine.pth'
        assert own.reid == reid

    def test_a_frozen_teacher_stays(self, log):
        lad = 'mmdet::lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py'
        twin = swap_backbone(lad)
        assert twin.model.backbone.type == 'SEResNet'
        assert twin.model.teacher_backbone.type == 'ResNet'
        assert 'model.teacher_backbone: ResNet-101, not changed: a frozen teacher' in log[-1]
        swapped = swap_backbone(lad, checkpoint='mine.pth', teachers=True)
        assert swapped.model.teacher_backbone.type == 'SEResNet'
        assert 'init_cfg' not in swapped.model.teacher_backbone

    def test_a_frozen_teacher_in_another_config_file(self, log, config, caffe):
        base = config(data_preprocessor=caffe)
        base.model.teacher_config = FASTER_RCNN
        twin = swap_backbone(base)
        assert twin.model.teacher_config == FASTER_RCNN
        assert f'model.teacher_config: {FASTER_RCNN}, not changed: a frozen' in log[-1]
        assert twin.model.backbone.init_cfg.graft  # the teacher sees the same images
        assert twin.model.data_preprocessor == base.model.data_preprocessor
        swapped = swap_backbone(base, teachers=True)
        assert swapped.model.teacher_config.model.backbone.type == 'SEResNet'

    def test_a_frozen_teacher_named_by_a_path_in_mmdetections_checkout(self):
        base = load_config('mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py')
        base.load_from = 'plain.pth'
        twin = swap_backbone(base, teachers=True)
        with torch.device('meta'):
            detector = MODELS.build({**twin.model, 'teacher_ckpt': None})
        assert isinstance(detector.backbone, SEResNet)
        assert isinstance(detector.teacher_model.backbone, SEResNet)

    def test_lists(self):
        model = dict(parts=[dict(backbone=dict(type='ResNet', depth=18, init_cfg=None))])
        assert swap_backbone(Config(dict(model=model))).model.parts[0].backbone.type == 'SEResNet'

    def test_another_package_s_resnet(self, config):
        base = config(type='ResNet')
        base.default_scope = 'mmrazor'
        with pytest.raises(UsageError, match=r'model\.backbone: ResNet-50'):
            swap_backbone(base)
        base.model.backbone.type = 'mmdet.ResNet'
        assert swap_backbone(base).model.backbone.type == 'mmdet.SEResNet'


class TestNothingToSwap:
    """The message lists the config's backbones and those that can be swapped."""

    @pytest.mark.parametrize(
        ('name', 'backbone'),
        [
            ('swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', 'SwinTransformer (not one of MMDet'),
            ('rtmdet/rtmdet_s_8xb32-300e_coco.py', 'CSPNeXt (it has channel attention already)'),
        ],
    )
    def test_other_backbones(self, name, backbone):
        with pytest.raises(UsageError, match=re.escape(f'model.backbone: {backbone}')):
            swap_backbone(f'mmdet::{name}')

    def test_se_already(self, log):
        twin = swap_backbone(FASTER_RCNN)
        assert swap_backbone(twin, reduction=8).to_dict() == twin.to_dict()
        assert 'model.backbone: SEResNet-50, not changed: it has SE already' in log[-1]

    def test_only_a_frozen_teacher(self, config):
        base = config(type='SwinTransformer')
        base.model.teacher_backbone = dict(type='ResNet', depth=50)
        with pytest.raises(UsageError, match=r'SwinTransformer.*set teachers=True'):
            swap_backbone(base)

    def test_no_model(self):
        with pytest.raises(UsageError, match='has no model'):
            swap_backbone('mmdet::_base_/default_runtime.py')


def test_imports_are_added_to(config):
    base = config()
    base.custom_imports = dict(imports=['mine'], allow_failed_imports=False)
    twin = swap_backbone(base)
    assert twin.custom_imports == dict(imports=['mine', 'se_det'], allow_failed_imports=False)
    assert swap_backbone(twin).custom_imports == twin.custom_imports
    base.custom_imports = dict(imports='mine')
    assert swap_backbone(base).custom_imports.imports == ['mine', 'se_det']


@pytest.mark.parametrize('whole', [True, False], ids=['load_from', 'backbone'])
def test_a_grafted_twin_starts_as_the_plain_detector(whole, tmp_path):
    base = load_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py')
    base.model.backbone.update(base_channels=16, init_cfg=None)
    base.model.neck.update(in_channels=[16, 32, 64, 128], out_channels=16)
    base.model.bbox_head.update(in_channels=16, feat_channels=16, num_classes=3)
    plain = MODELS.build(base.model)
    checkpoint = str(tmp_path / 'plain.pth')
    torch.save(dict(state_dict=(plain if whole else plain.backbone).state_dict()), checkpoint)
    if whole:
        base.load_from = checkpoint
    else:
        base.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    twin = MODELS.build(swap_backbone(base, fused=False).model)
    twin.init_weights()
    if not whole:
        plain, twin = plain.backbone, twin.backbone
    plain.eval(), twin.eval()
    twin.to(memory_format=torch.contiguous_format)  # as the plain one's
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for ours, theirs in zip(twin(images), plain(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
