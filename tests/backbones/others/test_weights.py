"""Loading and grafting weights of other backbones than ResNet."""

import pytest
import torch
from mmdet.models.backbones import RegNet
from mmdet.registry import MODELS
from torch import nn

from se_det.checkpoints.fit import refuse_se_in_plain_backbones
from se_det.errors import UsageError

from .conftest import CASES, arguments, assert_equal, attentions, make

REGNET = dict(type='mmdet.SERegNet', arch='regnetx_400mf')
NARROW_GROUPS = dict(
    type='mmdet.RegNet', arch=dict(RegNet.arch_settings['regnetx_400mf'], group_w=8)
)
WITH_INIT_CFG = [name for name in CASES if name != 'HourglassNet']  # MMDetection's has none


@pytest.fixture
def start(tmp_path):
    """Build a backbone that starts from a file of weights."""

    def build(checkpoint, cfg, graft=False, dtype=torch.float32):
        torch.save(checkpoint, tmp_path / 'file.pth')
        file = str(tmp_path / 'file.pth')
        init_cfg = dict(type='SEPretrained', checkpoint=file, graft=graft)
        backbone = MODELS.build(dict(cfg, init_cfg=init_cfg)).to(dtype)
        backbone.init_weights()
        return backbone

    return build


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        *((name, 'SE') for name in WITH_INIT_CFG),
        *(
            pytest.param(name, kind, marks=() if name == 'RegNet' else pytest.mark.long)
            for name in WITH_INIT_CFG
            for kind in ('ECA', 'eSE')
        ),
    ],
)
def test_grafting_leaves_the_outputs_as_they_are(name, kind, images, start):
    plain, _ = make(name)
    weights = plain.state_dict()
    if name == 'TridentResNet':  # as files of Caffe2's ResNets have
        weights['conv1.bias'] = torch.zeros(16)
    cfg = arguments(name, se_cfg=dict(type=kind))
    ours = start(dict(state_dict=weights), cfg, True, torch.float64)
    ours.eval()
    assert_equal(ours(images), plain(images))
    ours.train()
    sum(output.square().mean() for output in ours(images)).backward()
    last = [parameter for se in attentions(ours) for parameter in list(se.parameters())[-2:]]
    assert any(parameter.grad.any() for parameter in last)


def _assert_same_weights(ours, expected):
    for key, value in expected.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


@pytest.mark.parametrize('name', WITH_INIT_CFG)
def test_own_weights_with_se_are_loaded(name, start):
    _, trained = make(name)  # in float64; TridentConv is made without values
    detector = {f'backbone.{key}': value for key, value in trained.state_dict().items()}
    ours = start(
        dict(state_dict={**detector, 'neck.weight': torch.ones(1)}),
        arguments(name),
        dtype=torch.float64,
    )
    _assert_same_weights(ours, trained)


@pytest.mark.parametrize(
    ('weights', 'options', 'message'),
    [
        (
            lambda: _plain('RegNet'),
            {},
            r'plain backbone, without SE\. To start from them.*add graft=True',
        ),
        (lambda: _trained().state_dict(), dict(graft=True), r'has SE already.*Remove graft=True'),
        (
            lambda: _plain('Res2Net') | {'conv1.weight': torch.ones(32, 3, 3, 3)},
            dict(graft=True),
            r'do not fit SERegNet: \d+ missing: .*; \d+ unexpected: layer\d',
        ),
        (
            lambda: MODELS.build(NARROW_GROUPS).state_dict(),
            dict(graft=True),
            r'do not fit SERegNet: \d+ of another shape',
        ),
        (
            lambda: _trained().state_dict(),
            dict(se_cfg=dict(stages=(False, True, True, True))),
            r'unexpected: layer1.*se',
        ),
        (
            lambda: {k: v for k, v in _trained().state_dict().items() if 'running_var' not in k},
            {},
            r'missing: bn1\.running_var',
        ),
        (
            lambda: _plain('RegNet'),
            dict(graft=True, se_cfg=dict(stages=(False,) * 4)),
            'No stage has SE',
        ),
    ],
    ids=['plain', 'se', 'another', 'narrower', 'surplus', 'no statistics', 'no stage'],
)
def test_weights_that_do_not_fit(weights, options, message, start):
    graft = options.pop('graft', False)
    with pytest.raises(UsageError, match=message):
        start(weights(), {**REGNET, **options}, graft)


def _plain(name):
    return make(name)[0].state_dict()


def _trained():
    return MODELS.build(REGNET)


def test_a_detectors_state_dict_without_se_is_refused(name):
    plain, ours = make(name)
    detector = nn.Module()
    detector.backbone = ours
    weights = {f'backbone.{key}': value for key, value in plain.state_dict().items()}
    with pytest.raises(UsageError, match=rf'does not fit the SE{name} at backbone[^$]*graft=True'):
        detector.load_state_dict(weights, strict=False)
    detector.backbone = plain
    refuse_se_in_plain_backbones(detector)
    weights = {f'backbone.{key}': value for key, value in ours.state_dict().items()}
    with pytest.raises(UsageError, match=r'has SE in its backbone, but .*Add --se'):
        detector.load_state_dict(weights, strict=False)


def test_a_detectors_state_dict_with_a_part_of_detectors_is_refused():
    sac = dict(sac=dict(type='SAC', use_deform=True), stage_with_sac=(False, True, True, True))
    detector = nn.Module()
    detector.backbone = MODELS.build(arguments('DetectoRS_ResNet', **sac))
    weights = {k: v for k, v in detector.state_dict().items() if 'switch' not in k}
    with pytest.raises(UsageError, match=r'missing: backbone\..*switch'):
        detector.load_state_dict(weights, strict=False)


@pytest.mark.parametrize(
    ('se_cfg', 'message'),
    [
        (dict(position='post'), r"trained with dict\(position='standard'\).*position='post'"),
        (dict(gate='tanh'), r"trained with dict\(gate='sigmoid'\), but the backbone has"),
        (dict(relu_before_se=True), r'relu_before_se.*Set'),
        (None, None),
    ],
)
@pytest.mark.parametrize(
    'backbone', [REGNET, dict(type='mmdet.SEResNet', depth=18, base_channels=16)], ids=str
)
def test_options_that_shapes_do_not_show_are_those_of_the_training(
    backbone, se_cfg, message, start
):
    trained = MODELS.build(backbone)
    meta = dict(cfg='model = dict(backbone=dict(style="pytorch", se_cfg=dict(reduction=16)))')
    checkpoint = dict(state_dict=trained.state_dict(), meta=meta)
    if message:
        with pytest.raises(UsageError, match=message):
            start(checkpoint, dict(backbone, se_cfg=se_cfg))
    else:
        _assert_same_weights(start(checkpoint, backbone), trained)


def test_own_weights_of_regnety_with_its_defaults_are_loaded(start):
    cfg = dict(type='mmdet.SERegNet', arch='regnety_400mf')
    trained = MODELS.build(cfg)
    meta = dict(cfg="model = dict(backbone=dict(type='SERegNet', arch='regnety_400mf'))")
    _assert_same_weights(start(dict(state_dict=trained.state_dict(), meta=meta), cfg), trained)


@pytest.mark.parametrize('kind', ['eSE', 'GC', 'CBAM'])
def test_own_resnets_with_other_attentions_are_loaded(kind, start):
    cfg = dict(type='mmdet.SEResNet', depth=18, base_channels=32, se_cfg=dict(type=kind))
    trained = MODELS.build(cfg)
    _assert_same_weights(start(trained.state_dict(), cfg), trained)
