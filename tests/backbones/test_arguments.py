"""Every argument that is not allowed gets a UsageError that says what is, and what was found."""

import re

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.model import PretrainedInit
from torch import nn

from se_det.backbones import SEResNet
from se_det.errors import UsageError

CONTEXT = dict(type='ContextBlock', ratio=1 / 4)
AFTER_CONV3 = dict(cfg=CONTEXT, position='after_conv3')
PRETRAINED = dict(type='Pretrained', checkpoint='weights.pth')
SE_PRETRAINED = dict(type='SEPretrained', checkpoint='weights.pth')

# What MMDetection raises for an argument: its assertion, or the message of a library.
REFUSED_BY_MMDETECTION = [
    ('num_stages', 5, 'assert num_stages >= 1 and num_stages <= 4'),
    ('style', 'torch', "assert style in ['pytorch', 'caffe']"),
    ('strides', (1, 2, 2), 'assert len(strides) == len(dilations) == num_stages'),
    ('strides', 2, 'object of type'),
    ('out_indices', (0, 4), 'assert max(out_indices) < num_stages'),
    ('frozen_stages', 5, "no attribute 'layer5'"),
    ('norm_cfg', 'BN', 'cfg must be a dict'),
    ('norm_cfg', dict(type='BN9'), 'registry'),
    ('norm_cfg', dict(type='GN'), "assert 'num_groups' in cfg_"),
    ('conv_cfg', {}, 'the cfg dict must contain the key "type"'),
    ('stage_with_dcn', (True,), 'index out of range'),
    ('plugins', [CONTEXT], 'position'),
    ('plugins', [dict(AFTER_CONV3, stages=(True,))], 'len(stages) == self.num_stages'),
    ('groups', 0, 'groups must be a positive integer'),
]
OF_ANOTHER_TYPE = [
    ('num_stages', '4', 'int, such as 4'),
    ('frozen_stages', None, 'int, such as -1'),
    ('base_channels', 64.0, 'int, such as 64'),
    ('style', None, "str, such as 'pytorch'"),
    ('norm_eval', 'False', 'bool, such as True'),
    ('zero_init_residual', 0, 'bool, such as True'),
    ('groups', True, 'int, such as 1'),
]


def build(name: str, **kwargs) -> nn.Module:
    with torch.device('meta'):
        return MODELS.build(dict(type=name, **kwargs))


def says(message: str):
    return pytest.raises(UsageError, match=re.escape(message))


@pytest.mark.parametrize(('argument', 'value', 'reason'), REFUSED_BY_MMDETECTION)
def test_what_mmdetection_refuses(argument, value, reason):
    with says(f'SEResNeXt cannot be built with depth=50, {argument}={value!r}: ') as raised:
        build('SEResNeXt', depth=50, **{argument: value})
    assert reason in str(raised.value)


@pytest.mark.parametrize(('argument', 'value', 'expected'), OF_ANOTHER_TYPE)
def test_a_value_of_another_type(argument, value, expected):
    with says(f'SEResNeXt: {argument} must be of type {expected}; got {value!r}.'):
        build('SEResNeXt', depth=50, **{argument: value})


def test_a_stem_pool_that_is_not_allowed():
    with says("stem_pool must be 'padded' or 'ceil'; got 'max'."):
        build('SEResNet', depth=50, stem_pool='max')


@pytest.mark.parametrize('init_cfg', ['weights.pth', dict(type='Pretrianed'), [dict(prefix='a')]])
def test_an_init_cfg_that_is_not_allowed(init_cfg):
    with says('SEResNet: init_cfg must be a dict with the type of an initializer, such as dict('):
        build('SEResNet', depth=50, init_cfg=init_cfg)


@pytest.mark.parametrize('depth', [20, '50', None, True, [50]])
@pytest.mark.parametrize(
    ('name', 'depths'), [('SEResNet', '18, 34, 50, 101, 152'), ('SEResNeXt', '26, 50, 101, 152')]
)
def test_a_depth_that_is_not_allowed(name, depths, depth):
    with says(f'{name} has depth {depths}; got depth={depth!r}.'):
        build(name, depth=depth)


@pytest.mark.parametrize('depth', [18, 34])
def test_se_resnext_has_no_depth_of_basic_blocks(depth):
    with says(f'SEResNeXt has depth 26, 50, 101, 152; got depth={depth}.'):
        build('SEResNeXt', depth=depth)


@pytest.mark.parametrize(
    ('name', 'argument', 'base'),
    [
        ('SEResNet', 'se_config', 'ResNet'),
        ('SEResNet', 'groups', 'ResNet'),
        ('SEResNeXt', 'cardinality', 'ResNeXt'),
    ],
)
def test_an_unknown_argument(name, argument, base):
    with says(
        f"{name} has no argument '{argument}'. It takes se_cfg, stem_pool and those of {base}: "
    ):
        build(name, depth=50, **{argument: 32})


@pytest.mark.parametrize('se_cfg', [16, '16', [16], True, False])
def test_se_cfg_that_is_no_dict(se_cfg):
    with says(f'se_cfg must be a dict with reduction and stages, or None; got {se_cfg!r}.'):
        build('SEResNet', depth=50, se_cfg=se_cfg)


def test_an_unknown_key_of_se_cfg():
    with says("se_cfg has no key 'ratio'. It takes reduction (default 16), stages"):
        build('SEResNet', depth=50, se_cfg=dict(ratio=16))


@pytest.mark.parametrize(
    'reduction', [0, -16, '16', 16.0, None, True, (16, 16), (16, 16, 16, 0), (16, 16, 16, 16.0)]
)
def test_se_cfg_reduction_that_is_not_allowed(reduction):
    with says(
        'se_cfg: reduction must be a positive int, or a sequence of num_stages=4 of them; '
        f'got {reduction!r}.'
    ):
        build('SEResNet', depth=50, se_cfg=dict(reduction=reduction))


@pytest.mark.parametrize(
    ('key', 'value', 'allowed'),
    [
        ('type', 'SK', "'SE', 'ECA', 'eSE', 'CBAM' or 'GC'"),
        ('position', 'last', "'standard', 'pre', 'post', 'identity' or '3x3'"),
        ('squeeze', 'min', "'mean', 'max' or None"),
        ('gate', 'softmax', "'sigmoid', 'tanh' or 'relu'"),
        ('fused', 'yes', 'True, False or None'),
        ('fused', 1, 'True, False or None'),
    ],
)
def test_se_cfg_choices_that_are_not_allowed(key, value, allowed):
    with says(f'se_cfg: {key} must be {allowed}; got {value!r}.'):
        build('SEResNet', depth=50, se_cfg={key: value})


def test_squeeze_and_gate_are_of_se_alone():
    with says("se_cfg: squeeze and gate are those of type='SE'; got type='ECA'."):
        build('SEResNet', depth=50, se_cfg=dict(type='ECA', gate='tanh'))


def test_a_basic_block_has_no_position_in_a_bottleneck():
    with says("se_cfg: position='3x3' is of a bottleneck, which depths from 50 on have."):
        build('SEResNet', depth=18, se_cfg=dict(position='3x3'))


@pytest.mark.parametrize('stages', [(True, False), (1, 1, 1, 0), True, 'TTTF', None])
def test_se_cfg_stages_that_are_not_allowed(stages):
    with says(f'se_cfg: stages must be a sequence of num_stages=4 bools; got {stages!r}.'):
        build('SEResNet', depth=50, se_cfg=dict(stages=stages))


@pytest.mark.parametrize('key', ['relu_before_se', 'mask_padding'])
@pytest.mark.parametrize('value', [1, None, 'yes'])
def test_se_cfg_flags_that_are_not_allowed(key, value):
    with says(f'se_cfg: {key} must be True or False; got {value!r}.'):
        build('SEResNet', depth=50, se_cfg={key: value})


def test_se_cfg_follows_num_stages():
    with says('se_cfg: stages must be a sequence of num_stages=2 bools'):
        build(
            'SEResNet',
            depth=50,
            num_stages=2,
            strides=(1, 2),
            dilations=(1, 1),
            out_indices=(0, 1),
            se_cfg=dict(stages=(True, True, True, True)),
        )


@pytest.mark.parametrize('argument', ['dcn', 'plugins'])
def test_basic_blocks_have_no_dcn_and_no_plugins(argument):
    value = dict(dcn=dict(type='DCN'), plugins=[AFTER_CONV3])[argument]
    with says(f'SEResNet cannot be built with depth=18, {argument}={value!r}, '):
        build('SEResNet', depth=18, **{argument: value}, stage_with_dcn=(True, True, True, True))


@pytest.mark.parametrize(
    'arguments',
    [
        dict(init_cfg=PRETRAINED),
        dict(init_cfg=dict(type=PretrainedInit, checkpoint='weights.pth')),
        dict(init_cfg=[dict(type='Kaiming', layer='Conv2d'), dict(PRETRAINED, prefix='backbone.')]),
        dict(pretrained='weights.pth'),
        dict(pretrained='weights.pth', init_cfg=SE_PRETRAINED),
    ],
    ids=str,
)
def test_weights_that_would_load_as_far_as_they_fit(arguments):
    """mmengine's initializer is not strict."""
    with says(
        'SEResNet takes no weights by pretrained or Pretrained, which ignore keys that do not '
        "match. Set\ninit_cfg=dict(type='SEPretrained', checkpoint='weights.pth')\nor, if "
        "they are plain, to graft SE to them,\ninit_cfg=dict(type='SEPretrained', "
        "checkpoint='weights.pth', graft=True)"
    ):
        build('SEResNet', depth=50, **arguments)


@pytest.mark.parametrize(
    'allowed',
    [
        dict(norm_cfg=dict(type='SyncBN', requires_grad=False)),
        dict(norm_cfg=dict(type=nn.BatchNorm2d)),
        dict(conv_cfg=dict(type='ConvAWS')),
        dict(dcn=dict(type='DCN', fallback_on_stride=False), stage_with_dcn=[False] * 3 + [True]),
        dict(plugins=[]),
        dict(plugins=(dict(AFTER_CONV3, stages=[True, False, False, False]),)),
        dict(strides=[1, 2, 2, 2], dilations=[1, 1, 1, 1], out_indices=[3]),
        dict(init_cfg=SE_PRETRAINED),
        dict(init_cfg=[dict(type='Kaiming', layer='Conv2d'), SE_PRETRAINED]),
        dict(pretrained=None),
    ],
    ids=str,
)
@pytest.mark.parametrize('name', ['SEResNet', 'SEResNeXt'])
def test_what_mmdet_allows_is_allowed(name, allowed):
    assert build(name, depth=50, **allowed).depth == 50


@pytest.mark.parametrize('kind', [UsageError, AssertionError, KeyError, TypeError])
def test_errors_are_those_of_mmdets_backbones_too(kind):
    with pytest.raises(kind) as raised:
        SEResNet(20)
    assert str(raised.value) == 'SEResNet has depth 18, 34, 50, 101, 152; got depth=20.'


def test_an_image_without_a_batch():
    with pytest.raises(UsageError, match=r'takes images \(N, C, H, W\); got \(3, 32, 32\)'):
        SEResNet(18, base_channels=16)(torch.zeros(3, 32, 32))
