"""A twin starts from public SE weights if some fit; otherwise SE is grafted to the config's."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmdet.models.detectors import RetinaNet

from se_det import swap_backbone
from se_det.errors import UsageError

TORCHVISION = dict(type='Pretrained', checkpoint='torchvision://resnet50')
RSB = (
    'https://download.openmmlab.com/mmclassification/v0/resnet/'
    'resnet{}_8xb256-rsb-a1-600e_in1k_20211228-20e21305.pth'
)


@pytest.mark.parametrize(
    ('backbone', 'chosen', 'arguments'),
    [
        (dict(depth=18), 'timm/legacy_seresnet18.in1k', dict(stem_pool='ceil')),
        (dict(depth=50), 'mmpretrain/se_resnet50', {}),
        (
            dict(depth=152),
            'timm/legacy_seresnet152.in1k',
            dict(style='caffe', stem_pool='ceil'),
        ),
        (dict(type='ResNeXt', groups=32), 'timm/seresnext50_32x4d.gluon_in1k', {}),
        (dict(type='ResNeXt', depth=101, groups=64), 'timm/seresnext101_64x4d.gluon_in1k', {}),
        (dict(norm_cfg=dict(type='SyncBN')), 'mmpretrain/se_resnet50', {}),
        (dict(norm_cfg=dict(type=torch.nn.BatchNorm2d)), 'mmpretrain/se_resnet50', {}),
        (dict(dcn=dict(type='DCN', deform_groups=1)), 'mmpretrain/se_resnet50', {}),
    ],
)
def test_public_weights_where_they_fit(backbone, chosen, arguments, config):
    twin = swap_backbone(config(**backbone)).model
    assert twin.backbone.init_cfg == dict(type='SEPretrained', checkpoint=chosen)
    for name in ('style', 'stem_pool'):
        assert twin.backbone.get(name) == arguments.get(name)
    relu_before_se = twin.backbone.get('se_cfg', {}).get('relu_before_se', False)
    assert relu_before_se == (backbone.get('depth') == 18)


@pytest.mark.parametrize(
    ('backbone', 'se_cfg', 'reason'),
    [
        (dict(type='ResNeXt', depth=101, groups=32, base_width=8), {}, 'no public weights of'),
        (dict(norm_cfg=dict(type='GN', num_groups=32)), {}, 'batch norm, not GN'),
        (dict(norm_cfg=dict(type='Unheard')), {}, 'batch norm, not Unheard'),
        (dict(conv_cfg=dict(type='ConvWS')), {}, 'not ConvWS'),
        (dict(deep_stem=True), {}, 'deep_stem=False, not True'),
        (dict(base_channels=32), {}, 'base_channels=64, not 32'),
        ({}, dict(reduction=8), 'reduction=16, not 8'),
        ({}, dict(reduction=(16, 16, 16, 8)), 'reduction=16, not'),
        ({}, dict(stages=(True, True, True, False)), 'SE in all stages'),
        (dict(depth=18), dict(relu_before_se=False), 'relu_before_se=True, not False'),
    ],
)
def test_grafting_where_no_public_weights_fit(backbone, se_cfg, reason, log, config, caffe):
    base = config(**backbone, style='caffe', data_preprocessor=caffe)
    twin = swap_backbone(base, **se_cfg)
    assert twin.model.backbone.init_cfg == dict(
        type='SEPretrained', checkpoint='torchvision://resnet50', graft=True
    )
    assert twin.model.backbone.style == 'caffe'
    assert twin.model.data_preprocessor == base.model.data_preprocessor
    assert reason in log[-1]


def test_preprocessing_follows_the_weights(log, config, rgb, caffe):
    base = config(style='caffe', data_preprocessor=caffe)
    base.data_preprocessor = deepcopy(base.model.data_preprocessor)
    twin = swap_backbone(base)
    for images in (twin.model.data_preprocessor, twin.data_preprocessor):
        assert images == dict(type='DetDataPreprocessor', pad_size_divisor=32, **rgb)
    assert twin.model.backbone.style == 'pytorch'
    base.train_pipeline = [dict(type='RandomCenterCropPad', mean=[1.0, 2.0, 3.0])]
    swap_backbone(base)
    assert 'RandomCenterCropPad keeps its own mean' in log[-1]
    for word in ('style: caffe -> pytorch', 'bgr_to_rgb=True', 'instead of torchvision://'):
        assert word in log[-1]


@pytest.mark.parametrize(
    ('named', 'depth', 'chosen'),
    [
        ('open-mmlab://detectron2/resnet50_caffe', 50, 'mmpretrain/se_resnet50'),
        (RSB.format(50), 50, 'timm/seresnet50.a1_in1k'),
        (RSB.format(101), 101, 'mmpretrain/se_resnet101'),
        (
            'https://download.pytorch.org/models/resnet50-11ad3fa6.pth',
            50,
            'timm/seresnet50.ra2_in1k',
        ),
        (
            'https://download.pytorch.org/models/resnet50-0676ba61.pth',
            50,
            'mmpretrain/se_resnet50',
        ),
    ],
)
def test_the_recipe_is_that_of_the_replaced_weights(named, depth, chosen, config):
    plain = dict(type='Pretrained', prefix='backbone.', checkpoint=named)
    backbone = swap_backbone(config(depth=depth, init_cfg=plain)).model.backbone
    assert backbone.init_cfg == dict(type='SEPretrained', checkpoint=chosen)


@pytest.mark.parametrize('named', ['./swav.pth.tar', '/mine.pth', 'https://my.org/moco.pth'])
def test_grafting_to_weights_that_may_not_be_of_imagenet(named, log, config, caffe):
    plain = dict(type='Pretrained', checkpoint=named)
    base = config(init_cfg=plain, style='caffe', data_preprocessor=caffe)
    twin = swap_backbone(base)
    assert twin.model.backbone.init_cfg == dict(type='SEPretrained', checkpoint=named, graft=True)
    assert twin.model.data_preprocessor == base.model.data_preprocessor
    assert f'grafted to {named}: they may be of other data than ImageNet' in log[-1]


def test_eps_of_batch_norm_follows_the_weights(log):
    """Configs for Caffe's weights have eps=0 if their statistics are folded."""
    nas_fcos = 'mmdet::nas_fcos/nas-fcos_r50-caffe_fpn_fcoshead-gn-head_4xb4-1x_coco.py'
    frozen = dict(type='BN', requires_grad=False)
    backbone = swap_backbone(nas_fcos).model.backbone
    assert backbone.init_cfg.checkpoint == 'mmpretrain/se_resnet50'
    assert backbone.norm_cfg == dict(frozen, eps=1e-5)
    assert 'norm_cfg: eps=0 -> 1e-05' in log[-1]
    assert swap_backbone(nas_fcos, graft=True).model.backbone.norm_cfg == dict(frozen, eps=0)
    assert 'eps' not in log[-1]


@pytest.mark.parametrize('init_cfg', [None, dict(type='Kaiming', layer='Conv2d')])
def test_no_weights_where_the_config_has_none(init_cfg, config):
    assert swap_backbone(config(init_cfg=init_cfg)).model.backbone.init_cfg == init_cfg


def test_other_initialisations_stay_and_pretrained_is_an_init_cfg(config):
    constant = dict(type='Constant', val=0, override=dict(name='conv1'))
    ours = dict(type='SEPretrained', checkpoint='mmpretrain/se_resnet50')
    init_cfg = swap_backbone(config(init_cfg=[TORCHVISION, constant])).model.backbone.init_cfg
    assert init_cfg == [constant, ours]
    old = config(init_cfg=None, pretrained='torchvision://resnet50')
    backbone = swap_backbone(old).model.backbone
    assert 'pretrained' not in backbone and backbone.init_cfg == ours


def test_checkpoint_and_graft(config):
    for base, checkpoint, options in (
        (config(), 'timm/seresnet50.ra2_in1k', {}),
        (config(), Path('mine.pth'), {}),
        (config(init_cfg=None), 'mine.pth', dict(graft=True)),
    ):
        backbone = swap_backbone(base, checkpoint, **options).model.backbone
        named = dict(type='SEPretrained', checkpoint=str(checkpoint))
        assert backbone.init_cfg == {**named, **options}
    legacy = swap_backbone(config(), 'x/se_resnet50-ce0d4300.pth').model.backbone
    assert (legacy.style, legacy.stem_pool) == ('caffe', 'ceil')
    grafted = swap_backbone(config(), graft=True).model.backbone
    assert grafted.init_cfg.checkpoint == 'torchvision://resnet50'


@pytest.mark.parametrize(
    ('base', 'options', 'message'),
    [
        (
            dict(depth=101),
            dict(checkpoint='mmpretrain/se_resnet50'),
            'se_resnet101, .*or graft',
        ),
        ({}, dict(checkpoint='mmpretrain/se_resnet50', reduction=8), 'reduction=16, not 8'),
        (dict(init_cfg=None), dict(graft=True), 'no pretrained weights to graft SE to'),
        ({}, dict(graft=True, relu_before_se=True), 'with relu_before_se True'),
        ({}, dict(relu_before_se=True), r'relu_before_se=False, not True\. SE cannot .*checkpoint'),
    ],
)
def test_checkpoints_and_arguments_that_do_not_fit(base, options, message, config):
    with pytest.raises(UsageError, match=message):
        swap_backbone(config(**base), **options)


def test_grafting_to_a_whole_detector(log, config, caffe):
    """Loading its plain weights would leave SE randomly initialised."""
    expected = dict(type='SEPretrained', checkpoint='mot.pth', graft=True)
    owner = dict(init_cfg=dict(type='Pretrained', checkpoint='mot.pth'))
    model = swap_backbone(config(owner=owner)).model
    assert (model.init_cfg, model.backbone.init_cfg) == (expected, None)
    base = config(init_cfg=None, style='caffe', data_preprocessor=caffe)
    base.load_from = 'mot.pth'
    twin = swap_backbone(base)
    assert (twin.model.init_cfg, twin.load_from) == (expected, None)
    assert twin.model.data_preprocessor == base.model.data_preprocessor
    assert 'whole detector' in log[-1]


@pytest.mark.parametrize('kind', ['RetinaNet', 'mmdet.HybridTaskCascade', 'Mask2Former', RetinaNet])
def test_load_from_becomes_init_cfg(kind, config):
    base = config(owner=dict(type=kind))
    base.load_from = 'plain.pth'
    twin = swap_backbone(base)
    assert twin.load_from is None
    assert twin.model.init_cfg == dict(type='SEPretrained', checkpoint='plain.pth', graft=True)


@pytest.mark.parametrize(
    'kind',
    [
        'KnowledgeDistillationSingleStageDetector',  # they take no init_cfg
        'mmdet.LAD',
        'DETR',  # they initialise again after it
        'DINO',
        'Unheard',
    ],
)
def test_load_from_stays_where_init_cfg_is_not_kept(kind, log, config, caffe):
    base = config(owner=dict(type=kind), style='caffe', data_preprocessor=caffe)
    base.load_from = 'plain.pth'
    twin = swap_backbone(base)
    assert twin.load_from == 'plain.pth'
    assert 'init_cfg' not in twin.model
    assert twin.model.backbone.init_cfg.graft  # it keeps the preprocessing of load_from
    assert twin.model.data_preprocessor == base.model.data_preprocessor
    assert 'load_from: plain.pth, not changed: it must be of an SE detector now' in log[-1]
    assert 'python -m se_det convert_weights plain.pth out.pth --graft' in log[-1]


def test_a_shared_head_keeps_the_weights_of_its_backbone():
    twin = swap_backbone('mmdet::faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco.py')
    assert twin.model.backbone.init_cfg == dict(
        type='SEPretrained', checkpoint='open-mmlab://detectron2/resnet50_caffe', graft=True
    )
    assert twin.model.backbone.style == 'caffe'
