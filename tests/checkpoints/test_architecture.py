"""Which backbone a file of weights was trained in, and a backbone with other arguments."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from se_det.checkpoints import ZOO, SEPretrained
from se_det.checkpoints.architecture import describe_backbone
from se_det.checkpoints.layouts import find_backbone
from se_det.checkpoints.zoo import public_weights
from se_det.errors import UsageError

BACKBONE = dict(type='SEResNet', depth=50, base_channels=8)
RESNEXT = dict(type='SEResNeXt', depth=50, groups=32, base_width=4)
LEGACY = 'se_resnet50-ce0d4300.pth'


@pytest.mark.parametrize(
    ('cfg', 'name', 'message'),
    [
        (
            dict(BACKBONE, stem_pool='ceil'),
            LEGACY,
            r"has style='pytorch'\. Set\nmodel = dict\(backbone=dict\(type='SEResNet', depth=50, "
            r"base_channels=8, style='caffe', stem_pool='ceil'",
        ),
        (dict(BACKBONE, style='caffe'), LEGACY, r"has stem_pool='padded'\. Set"),
        (dict(BACKBONE, style='caffe'), 'se_resnet50-x.pth', None),
        (
            dict(BACKBONE, style='caffe'),
            'se-resnet50_batch256_imagenet_20200804-ae206104.pth',
            r"has style='caffe'\. Set\n.*style='pytorch', stem_pool='padded'",
        ),
        (dict(BACKBONE, depth=101), 'x.pth', r'has depth=101\. Set\n.*depth=50'),
        (
            dict(RESNEXT),
            'x.pth',
            r'has base_channels=64, groups=32\. Set\n.*base_channels=8\)\)\nand remove groups',
        ),
        (
            dict(BACKBONE, se_cfg=dict(relu_before_se=True)),
            'x.pth',
            r"has se_cfg=.*True.*Set\n.*se_cfg=.*relu_before_se': False",
        ),
        (
            dict(BACKBONE, se_cfg=dict(reduction=8)),
            'x.pth',
            r'of another shape: .*They are of\ndict\(type=',
        ),
    ],
)
def test_a_backbone_with_other_arguments_than_its_weights(trained, save, cfg, name, message):
    load = SEPretrained(save(trained.state_dict(), name)['checkpoint'])
    backbone = MODELS.build(cfg)
    if message is None:
        load(backbone)
    else:
        with pytest.raises(UsageError, match=message):
            load(backbone)


def test_the_legacy_layout_implies_style_and_pool(trained, save):
    legacy = {key.replace('.se.', '.se_module.'): w for key, w in trained.state_dict().items()}
    load = SEPretrained(save(legacy)['checkpoint'])
    with pytest.raises(UsageError, match=r"has style='pytorch', stem_pool='padded'\. Set"):
        load(MODELS.build(BACKBONE))
    load(MODELS.build(dict(BACKBONE, style='caffe', stem_pool='ceil')))


CAFFE = dict(BACKBONE, style='caffe')
TRAINED_IN = """
import os
os.mkdir(TRACE)
model = dict(
    type='FasterRCNN',
    backbone=dict(
        type='ResNet', depth=50, style='caffe', norm_cfg=dict(type='BN', requires_grad=False)
    ),
    neck=dict(type='FPN', style='pytorch'))
"""


@pytest.mark.parametrize('key', ['cfg', 'config'])
def test_the_style_in_a_training_checkpoints_config_which_is_not_run(trained, save, tmp_path, key):
    plain = {k: w for k, w in trained.state_dict().items() if '.se.' not in k}
    text = TRAINED_IN.replace('TRACE', repr(str(tmp_path / 'trace')))
    load = SEPretrained(**_without_type(save(dict(state_dict=plain, meta={key: text}), graft=True)))
    with pytest.raises(UsageError, match=r"has style='pytorch'\. Set\n.*style='caffe'"):
        load(MODELS.build(BACKBONE))
    load(MODELS.build(CAFFE))
    assert not (tmp_path / 'trace').exists()


def test_our_training_checkpoints_have_all_arguments(trained, save):
    backbone = dict(CAFFE, stem_pool='ceil', se_cfg=dict(relu_before_se=True))
    meta = dict(cfg=Config(dict(model=dict(backbone=backbone))).pretty_text)
    load = SEPretrained(save(dict(state_dict=trained.state_dict(), meta=meta))['checkpoint'])
    load(MODELS.build(backbone))
    for argument in ('style', 'stem_pool', 'se_cfg'):
        with pytest.raises(UsageError, match=f'has {argument}='):
            load(MODELS.build({k: v for k, v in backbone.items() if k != argument}))


@pytest.mark.parametrize('text', ['model = dict(', 3, 'x = 1', 'model = dict(backbone=backbone)'])
def test_a_config_without_a_backbone_is_ignored(trained, save, text):
    meta = dict(cfg=text)
    load = SEPretrained(save(dict(state_dict=trained.state_dict(), meta=meta))['checkpoint'])
    load(MODELS.build(BACKBONE))


@pytest.mark.parametrize(
    ('name', 'style'),
    [
        ('open-mmlab://detectron2/resnet50_caffe', 'caffe'),
        ('open-mmlab://resnet101_caffe', 'caffe'),
        ('resnet50_msra-5891d200.pth', 'caffe'),
        ('https://a.org/resnet101_caffe-3ad79236.pth', 'caffe'),
        ('torchvision://resnet50', 'pytorch'),
        ('open-mmlab://resnext101_32x4d', 'pytorch'),
        ('caffe/mine.pth', None),
        ('https://a.org/mine.pth', None),
    ],
)
def test_the_style_of_mmengines_plain_files(trained, name, style):
    plain = {k: w for k, w in trained.state_dict().items() if '.se.' not in k}
    assert describe_backbone(find_backbone(plain), name).get('style') == style


def _without_type(init_cfg):
    return {key: value for key, value in init_cfg.items() if key != 'type'}


def test_a_public_file_is_recognised_by_its_repository():
    name = 'timm/seresnet50.ra2_in1k'
    url = f'https://huggingface.co/{name}/resolve/main/model.safetensors'
    assert public_weights(url) is ZOO[name]
    assert public_weights(f'{name}/model.safetensors') is None  # a path to any file


@pytest.mark.parametrize('name', ZOO)
def test_backbones_of_the_zoo_build(name):
    with torch.device('meta'):
        backbone = MODELS.build(ZOO[name].backbone)
    assert ZOO[name].depth in (backbone.depth, None)
