"""Which backbone a file of weights was trained in, and a backbone with other arguments."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from se_det.checkpoints import ZOO
from se_det.checkpoints.architecture import describe_backbone
from se_det.checkpoints.layouts import find_backbone
from se_det.checkpoints.zoo import public_weights
from se_det.errors import UsageError

from .conftest import BACKBONE

LEGACY = 'se_resnet50-ce0d4300.pth'
MMPRETRAIN = 'se-resnet50_batch256_imagenet_20200804-ae206104.pth'


@pytest.mark.parametrize(
    ('arguments', 'name', 'message'),
    [
        (
            dict(stem_pool='ceil'),
            LEGACY,
            r"has style='pytorch'\. Set\nmodel = dict\(backbone=dict\(type='SEResNet', depth=50, "
            r"base_channels=8, style='caffe', stem_pool='ceil'",
        ),
        (dict(style='caffe'), LEGACY, r"has stem_pool='padded'\. Set"),
        (
            dict(style='caffe'),
            MMPRETRAIN,
            r"has style='caffe'\. Set\n.*style='pytorch', stem_pool='padded'",
        ),
        (dict(depth=101), 'x.pth', r'has depth=101\. Set\n.*depth=50'),
        (
            dict(type='SEResNeXt', groups=32, base_width=4, base_channels=64),
            'x.pth',
            r'has base_channels=64, groups=32\. Set\n.*base_channels=8\)\)\nand remove groups',
        ),
        (
            dict(se_cfg=dict(relu_before_se=True)),
            'x.pth',
            r"has se_cfg=.*True.*Set\n.*se_cfg=.*relu_before_se': False",
        ),
        (dict(se_cfg=dict(reduction=8)), 'x.pth', r'of another shape: .*They are of\ndict\(type='),
    ],
)
def test_a_backbone_with_other_arguments_than_its_weights(trained, load, arguments, name, message):
    with pytest.raises(UsageError, match=message):
        load(trained.state_dict(), name, **arguments)


def test_a_file_of_unknown_style_fits_every_style(trained, load):
    load(trained.state_dict(), 'se_resnet50-x.pth', style='caffe')


def test_the_legacy_layout_implies_style_and_pool(legacy, load):
    with pytest.raises(UsageError, match=r"has style='pytorch', stem_pool='padded'\. Set"):
        load(legacy)
    load(legacy, style='caffe', stem_pool='ceil')


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
def test_the_style_in_a_training_checkpoints_config_which_is_not_run(plain, load, tmp_path, key):
    text = TRAINED_IN.replace('TRACE', repr(str(tmp_path / 'trace')))
    checkpoint = dict(state_dict=plain, meta={key: text})
    with pytest.raises(UsageError, match=r"has style='pytorch'\. Set\n.*style='caffe'"):
        load(checkpoint, graft=True)
    load(checkpoint, graft=True, style='caffe')
    assert not (tmp_path / 'trace').exists()


def test_our_training_checkpoints_have_all_arguments(trained, load):
    arguments = dict(style='caffe', stem_pool='ceil', se_cfg=dict(relu_before_se=True))
    meta = dict(cfg=Config(dict(model=dict(backbone={**BACKBONE, **arguments}))).pretty_text)
    checkpoint = dict(state_dict=trained.state_dict(), meta=meta)
    load(checkpoint, **arguments)
    for argument in arguments:
        with pytest.raises(UsageError, match=f'has {argument}='):
            load(checkpoint, **{k: v for k, v in arguments.items() if k != argument})


@pytest.mark.parametrize('text', ['model = dict(', 3, 'x = 1', 'model = dict(backbone=backbone)'])
def test_a_config_without_a_backbone_is_ignored(trained, load, text):
    load(dict(state_dict=trained.state_dict(), meta=dict(cfg=text)))


@pytest.mark.parametrize(
    ('name', 'style'),
    [
        ('open-mmlab://detectron2/resnet50_caffe', 'caffe'),
        ('resnet50_msra-5891d200.pth', 'caffe'),
        ('https://a.org/resnet101_caffe-3ad79236.pth', 'caffe'),
        ('torchvision://resnet50', 'pytorch'),
        ('caffe/mine.pth', None),
        ('https://a.org/mine.pth', None),
    ],
)
def test_the_style_of_mmengines_plain_files(plain, name, style):
    assert describe_backbone(find_backbone(plain), name).get('style') == style


def test_a_public_file_is_recognised_by_its_repository():
    name = 'timm/seresnet50.ra2_in1k'
    url = f'https://huggingface.co/{name}/resolve/main/model.safetensors'
    assert public_weights(url) is ZOO[name]
    assert public_weights(f'{name}/model.safetensors') is None  # a path to any file


def test_backbones_of_the_zoo_build():
    different = {str(weights.backbone): weights.backbone for weights in ZOO.values()}
    with torch.device('meta'):
        for backbone in different.values():
            MODELS.build(backbone)
