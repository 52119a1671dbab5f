"""MMDetection's other backbones with SE: what they share with those without, and where SE is."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval_for_single_model
from torch import nn

from se_det.errors import ArgumentError
from se_det.layers import SqueezeExcitation

from .conftest import CASES, SIZE, assert_equal, attentions, make


@pytest.mark.parametrize('fused', [None, False])
def test_with_gates_of_one_it_is_mmdetections(name, fused, images):
    plain, ours = make(name, se_cfg=dict(fused=fused))
    for se in attentions(ours):
        nn.init.zeros_(se.fc2.weight)
        nn.init.constant_(se.fc2.bias, 1000)
    assert_equal(ours(images), plain(images))


def test_every_gate_counts(name, images):
    _, ours = make(name)
    with torch.no_grad():
        before = ours(images)
        for se in attentions(ours):
            nn.init.constant_(se.fc2.bias, -1)
            after = ours(images)
            assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
            nn.init.zeros_(se.fc2.bias)


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


def _without_memory(kind, **options):
    with torch.device('meta'):
        return MODELS.build(dict(type=f'mmdet.SE{kind}', **copy.deepcopy(options)))


def test_unknown_arguments_and_mmengines_pretrained_are_refused(name):
    arguments = copy.deepcopy(CASES[name][0])
    with pytest.raises(ArgumentError, match=f'SE{name} has no argument .deepth.*It takes se_cfg'):
        MODELS.build(dict(type=f'mmdet.SE{name}', **arguments, deepth=50))
    with pytest.raises(ArgumentError, match=r"init_cfg=dict\(type='SEPretrained'"):
        MODELS.build(
            dict(
                type=f'mmdet.SE{name}',
                **arguments,
                init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://some'),
            )
        )
    with pytest.raises(ArgumentError, match='images'):
        _without_memory(name, **arguments)(torch.zeros(3, 64, 64))


def test_stages_without_se(name):
    arguments = CASES[name][0]
    backbone = _without_memory(name, **arguments)
    assert attentions(backbone) == [
        se for stage in backbone.se_stages for se in backbone.attentions(stage)
    ]
    stages = (False,) * (len(backbone.se_stages) - 1) + (True,)
    some = _without_memory(name, **arguments, se_cfg=dict(stages=stages))
    assert len(attentions(some)) < len(attentions(backbone))


def test_a_frozen_stage_freezes_its_se():
    backbone = _without_memory('RegNet', arch='regnetx_400mf', frozen_stages=1)
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


@pytest.mark.parametrize(
    'name',
    [
        'MobileNetV2',
        *(pytest.param(name, marks=pytest.mark.long) for name in ('Darknet', 'HRNet', 'RegNet')),
    ],
)
def test_exported_and_compiled(name, images):
    _, ours = make(name)
    expected = ours(images)
    assert_equal(torch.export.export(ours, (images,)).module()(images), expected)
    compiled = torch.compile(ours, backend='eager', fullgraph=True)
    assert_equal(compiled(images), expected)


def test_a_position_in_a_block_that_keeps_its_forward():
    with pytest.raises(ArgumentError, match=r"SEBottle2neck has SE after .* position='pre'"):
        MODELS.build(dict(type='mmdet.SERes2Net', depth=50, se_cfg=dict(position='pre')))


def test_se_of_hourglass_is_in_all_its_blocks():
    found = attentions(_without_memory('HourglassNet', **CASES['HourglassNet'][0]))
    assert len(found) == 16 and all(isinstance(se, SqueezeExcitation) for se in found)


def test_the_reduction_of_regnety_is_that_of_se():
    for kind, reduction in (('SE', 4), ('GC', 16)):
        backbone = _without_memory('RegNet', arch='regnety_400mf', se_cfg=dict(type=kind))
        assert backbone.se_cfg.reductions == (reduction,) * 4


@pytest.mark.parametrize('argument', ['dcn', 'plugins', 'conv_cfg'])
def test_senet_takes_no_layers_of_others(argument):
    with pytest.raises(ArgumentError, match=f'SENet takes no {argument}'):
        MODELS.build(dict(type='mmdet.SENet', **{argument: dict(type='DCN')}))


def test_wrong_values_are_named():
    for arguments, message in (
        (dict(type='mmdet.SERes2Net', depth=77), r'SERes2Net has depth 50, 101, 152; got depth=77'),
        (dict(type='mmdet.SERegNet', arch='regnety_3gf'), r"got arch='regnety_3gf'"),
        (dict(type='mmdet.SERegNet', arch='regnetx_400mf', init_cfg='x'), 'init_cfg must be'),
        (
            dict(type='mmdet.SERes2Net', depth=50, se_cfg=dict(type='ECA', reduction=4)),
            'has no red',
        ),
    ):
        with pytest.raises(ArgumentError, match=message):
            MODELS.build(arguments)


def test_mmengines_efficient_conv_bn_eval_traces(name):
    if name in ('HourglassNet', 'SSDVGG', 'TridentResNet', 'DetectoRS_ResNet', 'DetectoRS_ResNeXt'):
        pytest.skip("MMDetection's plain class is not traced, or has no batch norm")
    _, ours = make(name)
    images = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    expected = ours(images)
    turn_on_efficient_conv_bn_eval_for_single_model(ours)
    assert_equal(ours(images), expected)
