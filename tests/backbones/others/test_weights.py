"""Loading and grafting weights of other backbones than ResNet."""

import copy

import pytest
import torch
from mmdet.models.backbones import RegNet
from mmdet.registry import MODELS
from torch import nn

from se_det.checkpoints.fit import refuse_se_in_plain_backbones
from se_det.errors import UsageError

from .conftest import CASES, assert_equal, attentions, make


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        *((name, 'SE') for name in CASES),
        *(
            pytest.param(name, kind, marks=() if name == 'RegNet' else pytest.mark.long)
            for name in CASES
            for kind in ('ECA', 'eSE')
        ),
    ],
)
def test_grafting_leaves_the_outputs_as_they_are(name, kind, images, tmp_path):
    if name == 'HourglassNet':
        pytest.skip("MMDetection's HourglassNet takes no init_cfg")
    plain, _ = make(name)
    weights = plain.state_dict()
    if name == 'TridentResNet':  # as files of Caffe2's ResNets have
        weights['conv1.bias'] = torch.zeros(16)
    torch.save(dict(state_dict=weights), tmp_path / 'plain.pth')
    init_cfg = dict(type='SEPretrained', checkpoint=str(tmp_path / 'plain.pth'), graft=True)
    arguments = copy.deepcopy(CASES[name][0])
    ours = MODELS.build(
        dict(type=f'mmdet.SE{name}', **arguments, init_cfg=init_cfg, se_cfg=dict(type=kind))
    ).double()
    ours.init_weights()
    ours.eval()
    assert_equal(ours(images), plain(images))
    ours.train()
    sum(output.square().mean() for output in ours(images)).backward()
    last = [parameter for se in attentions(ours) for parameter in list(se.parameters())[-2:]]
    assert any(parameter.grad.any() for parameter in last)


def test_own_weights_with_se_are_loaded(name, images, tmp_path):
    if name == 'HourglassNet':
        pytest.skip("MMDetection's HourglassNet takes no init_cfg")
    _, trained = make(name)
    detector = {f'backbone.{key}': value for key, value in trained.state_dict().items()}
    torch.save(dict(state_dict={**detector, 'neck.weight': torch.ones(1)}), tmp_path / 'own.pth')
    init_cfg = dict(type='SEPretrained', checkpoint=str(tmp_path / 'own.pth'))
    _, ours = make(name, init_cfg=init_cfg)
    ours.init_weights()
    assert_equal(ours(images), trained(images))


@pytest.mark.parametrize(
    ('weights', 'graft', 'message'),
    [
        ('plain', False, r'has no SE\. To start SERegNet from plain weights.*add graft=True'),
        ('se', True, r'has SE already: layer1\.0\.se.*Remove graft=True'),
        ('another', True, r'do not fit SERegNet: \d+ missing: .*; \d+ unexpected: layer\d'),
        ('wider', True, r'do not fit SERegNet: \d+ of another shape'),
    ],
)
def test_weights_that_do_not_fit(weights, graft, message, tmp_path):
    plain, ours = make('RegNet')
    narrow_groups = dict(RegNet.arch_settings['regnetx_400mf'], group_w=8)
    files = dict(
        plain=plain.state_dict(),
        se=ours.state_dict(),
        another=make('Res2Net')[0].state_dict() | {'conv1.weight': torch.ones(32, 3, 3, 3)},
        wider=MODELS.build(dict(type='mmdet.RegNet', arch=narrow_groups)).state_dict(),
    )
    torch.save(files[weights], tmp_path / 'file.pth')
    init_cfg = dict(type='SEPretrained', checkpoint=str(tmp_path / 'file.pth'), graft=graft)
    backbone = MODELS.build(dict(type='mmdet.SERegNet', arch='regnetx_400mf', init_cfg=init_cfg))
    with pytest.raises(UsageError, match=message):
        backbone.init_weights()


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
    arguments = dict(depth=50, base_channels=16, sac=dict(type='SAC', use_deform=True))
    detector = nn.Module()
    detector.backbone = MODELS.build(
        dict(
            type='mmdet.SEDetectoRS_ResNet',
            **arguments,
            stage_with_sac=(False, True, True, True),
        )
    )
    weights = {k: v for k, v in detector.state_dict().items() if 'switch' not in k}
    with pytest.raises(UsageError, match=r'missing: backbone\..*switch'):
        detector.load_state_dict(weights, strict=False)


@pytest.mark.parametrize(
    ('se_cfg', 'message'),
    [
        (dict(position='post'), r"trained with dict\(position='standard'\).*position='post'"),
        (dict(gate='tanh'), r"trained with dict\(gate='sigmoid'\), but the backbone has"),
        (dict(relu_before_se=True), r'relu_before_se.*Set'),
    ],
)
@pytest.mark.parametrize('backbone', ['SEResNet', 'SERegNet'])
def test_options_that_shapes_do_not_show_are_those_of_the_training(
    backbone, se_cfg, message, tmp_path
):
    arguments = dict(depth=18) if backbone == 'SEResNet' else dict(arch='regnetx_400mf')
    trained = MODELS.build(dict(type=f'mmdet.{backbone}', **arguments))
    meta = dict(cfg=f'model = dict(backbone=dict(type={backbone!r}, se_cfg=dict(reduction=16)))')
    torch.save(dict(state_dict=trained.state_dict(), meta=meta), tmp_path / 'own.pth')
    init_cfg = dict(type='SEPretrained', checkpoint=str(tmp_path / 'own.pth'))
    if backbone == 'SERegNet':
        MODELS.build(dict(type=f'mmdet.{backbone}', **arguments, init_cfg=init_cfg)).init_weights()
    other = MODELS.build(
        dict(type=f'mmdet.{backbone}', **arguments, init_cfg=init_cfg, se_cfg=se_cfg)
    )
    with pytest.raises(UsageError, match=message):
        other.init_weights()


def test_own_weights_of_regnety_with_its_defaults_are_loaded(tmp_path):
    arguments = dict(type='mmdet.SERegNet', arch='regnety_400mf')
    trained = MODELS.build(arguments)
    meta = dict(cfg="model = dict(backbone=dict(type='SERegNet', arch='regnety_400mf'))")
    torch.save(dict(state_dict=trained.state_dict(), meta=meta), tmp_path / 'own.pth')
    init_cfg = dict(type='SEPretrained', checkpoint=str(tmp_path / 'own.pth'))
    ours = MODELS.build(dict(arguments, init_cfg=init_cfg))
    ours.init_weights()
    for key, value in trained.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


def test_weights_with_surplus_se_or_missing_statistics_are_refused(tmp_path):
    _, trained = make('RegNet')
    few = {k: v for k, v in trained.state_dict().items() if 'running_var' not in k}
    for weights, se_cfg, message in (
        (trained.state_dict(), dict(stages=(False, True, True, True)), r'unexpected: layer1.*se'),
        (few, None, r'missing: bn1\.running_var'),
    ):
        torch.save(weights, tmp_path / 'own.pth')
        init_cfg = dict(type='SEPretrained', checkpoint=str(tmp_path / 'own.pth'))
        ours = MODELS.build(
            dict(type='mmdet.SERegNet', arch='regnetx_400mf', init_cfg=init_cfg, se_cfg=se_cfg)
        )
        with pytest.raises(UsageError, match=message):
            ours.init_weights()


def test_grafting_without_a_stage_with_se(tmp_path):
    plain, _ = make('RegNet')
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    init_cfg = dict(type='SEPretrained', checkpoint=str(tmp_path / 'plain.pth'), graft=True)
    ours = MODELS.build(
        dict(
            type='mmdet.SERegNet',
            arch='regnetx_400mf',
            init_cfg=init_cfg,
            se_cfg=dict(stages=(False,) * 4),
        )
    )
    with pytest.raises(UsageError, match='No stage has SE'):
        ours.init_weights()


@pytest.mark.parametrize('kind', ['eSE', 'GC', 'CBAM'])
def test_own_resnets_with_other_attentions_are_loaded(kind, tmp_path):
    se_cfg = dict(type=kind)
    trained = MODELS.build(dict(type='mmdet.SEResNet', depth=18, se_cfg=se_cfg))
    torch.save(trained.state_dict(), tmp_path / 'own.pth')
    init_cfg = dict(type='SEPretrained', checkpoint=str(tmp_path / 'own.pth'))
    ours = MODELS.build(dict(type='mmdet.SEResNet', depth=18, se_cfg=se_cfg, init_cfg=init_cfg))
    ours.init_weights()
    for key, value in trained.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)
