"""MMDetection's other backbones with SE: what they share with those without, and where SE is."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval_for_single_model
from torch import nn

from se_det.errors import ArgumentError
from se_det.layers import SqueezeExcitation

from .conftest import CASES, SIZE, arguments, assert_equal, attentions, make


def test_with_gates_of_one_it_is_mmdetections(name, images):
    plain, ours = make(name)
    for se in attentions(ours):
        nn.init.zeros_(se.fc2.weight)
        nn.init.constant_(se.fc2.bias, 1000)
    expected = plain(images)
    assert_equal(ours(images), expected)
    ours.fused = False
    assert_equal(ours(images), expected)


def test_every_gate_counts(name, images):
    _, ours = make(name)
    sum(output.square().mean() for output in ours(images)).backward()
    assert all(se.fc2.bias.grad.any() for se in attentions(ours))


def test_squeezes_leave_out_the_padding(name, images):
    _, ours = make(name, se_cfg=dict(fused=False))
    found = {}

    def keep(se, inputs):
        x, padding = inputs
        stride = SIZE[0] // x.shape[2]
        found.setdefault(stride, []).append(padding.sizes.tolist())

    for se in attentions(ours):
        se.register_forward_pre_hook(keep)
    ours(images)
    assert found.keys() == CASES[name][1]
    for stride, sizes in found.items():
        expected = [[-(-edge // stride) for edge in size] for size in (SIZE, (50, 75))]
        assert sizes == [expected] * len(sizes)


def test_without_masks_squeezes_are_over_the_whole_map(name, images):
    _, ours = make(name, se_cfg=dict(fused=False, mask_padding=False))
    for se in attentions(ours):
        se.register_forward_pre_hook(lambda _, inputs: pytest.fail() if len(inputs) > 1 else None)
    ours(images)


@pytest.mark.parametrize('name', ['HRNet', 'HourglassNet', 'RegNet', 'TridentResNet'])
@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_fused_blocks_agree_with_the_layers(name, training, images):
    _, ours = make(name)
    plain = copy.deepcopy(ours)
    plain.fused = False
    gradients = []
    for model in (ours, plain):
        model.train(training)
        outputs = model(images)
        sum(output.square().mean() for output in outputs).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        if model is ours:
            expected = outputs
    assert_equal(outputs, expected)
    for key, gradient in gradients[1].items():
        assert (gradients[0][key] - gradient).norm() <= 1e-8 * gradient.norm() + 1e-12, key


def _without_memory(cfg):
    with torch.device('meta'):
        return MODELS.build(cfg)


def test_unknown_arguments_and_mmengines_pretrained_are_refused(name):
    with pytest.raises(ArgumentError, match=f'SE{name} has no argument .deepth.*It takes se_cfg'):
        MODELS.build(arguments(name, deepth=50))
    pretrained = dict(type='Pretrained', checkpoint='open-mmlab://some')
    with pytest.raises(ArgumentError, match=r"init_cfg=dict\(type='SEPretrained'"):
        MODELS.build(arguments(name, init_cfg=pretrained))
    with pytest.raises(ArgumentError, match='images'):
        _without_memory(arguments(name))(torch.zeros(3, 64, 64))


def test_stages_without_se(name):
    backbone = _without_memory(arguments(name))
    assert attentions(backbone) == [
        se for stage in backbone.se_stages for se in backbone.attentions(stage)
    ]
    stages = (False,) * (len(backbone.se_stages) - 1) + (True,)
    some = _without_memory(arguments(name, se_cfg=dict(stages=stages)))
    assert len(attentions(some)) < len(attentions(backbone))


def test_a_frozen_stage_freezes_its_se():
    backbone = _without_memory(arguments('RegNet', frozen_stages=1))
    for _ in range(2):
        assert not any(p.requires_grad for p in backbone.layer1[0].se.parameters())
        assert all(p.requires_grad for p in backbone.layer2[0].se.parameters())
        backbone.train()


def test_copies_and_synchronised_norms_keep_their_se(name, images):
    _, ours = make(name)
    expected = ours(images)
    copied = copy.deepcopy(ours)
    assert_equal(copied(images), expected)
    nn.init.constant_(attentions(copied)[0].fc2.bias, 5)
    assert_equal(ours(images), expected)
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(ours))
    synchronised.eval()
    assert_equal(synchronised(images), expected)


def _quick(quick, *others):
    """Names of which some are long."""
    return [quick, *(pytest.param(name, marks=pytest.mark.long) for name in others)]


@pytest.mark.parametrize(
    'name', _quick('HourglassNet', 'MobileNetV2', 'Darknet', 'HRNet', 'RegNet')
)
def test_exported_and_compiled(name, images):
    _, ours = make(name)
    expected = ours(images)
    assert_equal(torch.export.export(ours, (images,)).module()(images), expected)
    compiled = torch.compile(ours, backend='eager', fullgraph=True)
    assert_equal(compiled(images), expected)


def test_se_of_hourglass_is_in_all_its_blocks():
    found = attentions(_without_memory(arguments('HourglassNet')))
    assert len(found) == 16 and all(isinstance(se, SqueezeExcitation) for se in found)


def test_the_reduction_of_regnety_is_that_of_se():
    for kind, reduction in (('SE', 4), ('GC', 16)):
        cfg = dict(type='mmdet.SERegNet', arch='regnety_400mf', se_cfg=dict(type=kind))
        assert _without_memory(cfg).se_cfg.reductions == (reduction,) * 4


@pytest.mark.parametrize(
    ('kind', 'arguments', 'message'),
    [
        ('SENet', dict(dcn=dict(type='DCN')), 'SENet takes no dcn'),
        ('SENet', dict(plugins=dict(type='DCN')), 'SENet takes no plugins'),
        ('SENet', dict(conv_cfg=dict(type='DCN')), 'SENet takes no conv_cfg'),
        ('SERes2Net', dict(depth=77), r'SERes2Net has depth 50, 101, 152; got depth=77'),
        ('SERes2Net', dict(depth=50, se_cfg=dict(type='ECA', reduction=4)), 'has no red'),
        (
            'SERes2Net',
            dict(depth=50, se_cfg=dict(position='pre')),
            r"SEBottle2neck has SE after .* position='pre'",
        ),
        ('SERegNet', dict(arch='regnety_3gf'), r"got arch='regnety_3gf'"),
        ('SERegNet', dict(arch='regnetx_400mf', init_cfg='x'), 'init_cfg must be'),
    ],
)
def test_wrong_values_are_named(kind, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        MODELS.build(dict(type=f'mmdet.{kind}', **arguments))


@pytest.mark.parametrize(
    'name', _quick('CSPDarknet', 'Darknet', 'HRNet', 'MobileNetV2', 'RegNet', 'Res2Net')
)
def test_mmengines_efficient_conv_bn_eval_traces(name):
    _, ours = make(name)
    images = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    expected = ours(images)
    turn_on_efficient_conv_bn_eval_for_single_model(ours)
    assert_equal(ours(images), expected)
