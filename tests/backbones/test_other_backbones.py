"""MMDetection's other backbones with SE: what they share with those without, and where SE is."""

import copy
import inspect

import pytest
import torch
from mmdet.models.backbones import RegNet
from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval_for_single_model
from mmengine.runner import turn_on_activation_checkpointing
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from se_det import backbones
from se_det.backbones import SEBackbone
from se_det.checkpoints.fit import refuse_se_in_plain_backbones
from se_det.engine.launch import load_config
from se_det.errors import ArgumentError, UsageError
from se_det.layers import ChannelAttention, SqueezeExcitation, sizes_at

HRNET = dict(
    stage1=dict(
        num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(2,), num_channels=(16,)
    ),
    **{
        f'stage{n}': dict(
            num_modules=1,
            num_branches=n,
            block='BASIC',
            num_blocks=(2,) * n,
            num_channels=(18, 36, 72, 144)[:n],
        )
        for n in (2, 3, 4)
    },
)
TRIDENT = dict(
    depth=50,
    num_branch=3,
    test_branch_idx=1,
    trident_dilations=(1, 2, 3),
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(2,),
    base_channels=16,
)
VGG = dict(
    depth=11, with_last_pool=False, out_indices=(3, 4), out_feature_indices=(14, 24), ceil_mode=True
)
HOURGLASS = dict(
    downsample_times=2, stage_channels=(16, 24, 32), stage_blocks=(1, 1, 1), feat_channel=16
)
# Arguments, and the strides of the maps that SE scales.
CASES = {
    'CSPDarknet': (dict(deepen_factor=0.33, widen_factor=0.25), {4, 8, 16, 32}),
    'Darknet': (dict(), {2, 4, 8, 16, 32}),
    'DetectoRS_ResNeXt': (dict(depth=50, groups=4, base_width=4, base_channels=16), {4, 8, 16, 32}),
    'DetectoRS_ResNet': (dict(depth=50, base_channels=16), {4, 8, 16, 32}),
    'HRNet': (dict(extra=HRNET), {4, 8, 16, 32}),
    'HourglassNet': (HOURGLASS, {4, 8, 16}),
    'MobileNetV2': (dict(widen_factor=0.5), {2, 4, 8, 16, 32}),
    'RegNet': (dict(arch='regnetx_400mf'), {4, 8, 16, 32}),
    'Res2Net': (dict(depth=50, base_channels=16), {4, 8, 16, 32}),
    'SSDVGG': (VGG, {1, 2, 4, 8, 16}),
    'TridentResNet': (TRIDENT, {4, 8, 16}),
}
SSD_ANCHORS = dict(
    type='SSDAnchorGenerator',
    scale_major=False,
    input_size=300,
    basesize_ratio_range=(0.15, 0.9),
    strides=[8, 16, 32, 64, 100, 300],
    ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
)
SIZE = 128, 192


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture
def images():
    """Two images, of which the second is padded; ``(2, 3, 128, 192)`` float64."""
    x = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[1, :, 100:] = 0
    x[1, :, :, 150:] = 0
    return x


def make(name, **options):
    """The plain backbone and that with SE, with the same random weights, in float64."""
    torch.manual_seed(0)
    arguments = CASES[name][0]
    plain = MODELS.build(dict(type=f'mmdet.{name}', **copy.deepcopy(arguments))).double()
    ours = MODELS.build(
        dict(type=f'mmdet.SE{name}', **copy.deepcopy(arguments), **options)
    ).double()
    for module in plain.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif type(module).__name__ == 'TridentConv':  # MMDetection leaves its weight uninitialised
            nn.init.kaiming_normal_(module.weight)
    missing, unexpected = ours.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all('.se.' in key for key in missing)
    plain.eval()  # returns None in MMDetection's backbones
    ours.eval()
    return plain, ours


def attentions(backbone):
    return [module for module in backbone.modules() if isinstance(module, ChannelAttention)]


def assert_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max()


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
        x, sizes = inputs
        stride = SIZE[0] // x.shape[2]
        found.setdefault(stride, []).append(sizes.tolist())

    for se in attentions(ours):
        se.register_forward_pre_hook(keep)
    ours(images)
    assert found.keys() == CASES[name][1]
    for stride, sizes in found.items():
        expected = [[-(-edge // stride) for edge in size] for size in (SIZE, (100, 150))]
        assert sizes == [expected] * len(sizes)


def test_without_masks_squeezes_are_over_the_whole_map(name, images):
    _, ours = make(name, se_cfg=dict(fused=False, mask_padding=False))
    for se in attentions(ours):
        se.register_forward_pre_hook(lambda _, inputs: pytest.fail() if len(inputs) > 1 else None)
    ours(images)


@pytest.mark.parametrize('name', ['HRNet', 'HourglassNet', 'RegNet', 'TridentResNet'])
@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_fused_blocks_agree_with_the_plain_composition(name, training, images):
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


@pytest.mark.parametrize('kind', ['SE', 'ECA', 'eSE'])
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
        make(name)[1](torch.zeros(3, 64, 64, dtype=torch.float64))


def test_stages_without_se(name):
    arguments = copy.deepcopy(CASES[name][0])
    backbone = MODELS.build(dict(type=f'mmdet.SE{name}', **arguments))
    number = len(backbone.se_stages)
    stages = (False,) * (number - 1) + (True,)
    some = MODELS.build(dict(type=f'mmdet.SE{name}', **arguments, se_cfg=dict(stages=stages)))
    assert len(attentions(some)) < len(attentions(backbone))


def test_the_attentions_of_all_stages_are_all_there_are(name):
    _, ours = make(name)
    found = [se for stage in ours.se_stages for se in ours.attentions(stage)]
    assert found == attentions(ours)


def test_a_frozen_stage_freezes_its_se():
    backbone = MODELS.build(dict(type='mmdet.SERegNet', arch='regnetx_400mf', frozen_stages=1))
    for _ in range(2):
        assert not any(p.requires_grad for p in backbone.layer1[0].se.parameters())
        assert all(p.requires_grad for p in backbone.layer2[0].se.parameters())
        backbone.train()


@pytest.mark.parametrize(
    ('name', 'way'),
    [
        *((name, 'mmengine') for name in ('CSPDarknet', 'MobileNetV2', 'RegNet', 'Res2Net')),
        *((name, 'with_cp') for name in ('DetectoRS_ResNet', 'HRNet', 'MobileNetV2', 'RegNet')),
        *((name, 'with_cp') for name in ('DetectoRS_ResNeXt', 'Res2Net')),
    ],
)
def test_activation_checkpointing_has_the_same_gradients(name, way, images):
    _, ours = make(name)
    checkpointed = copy.deepcopy(ours)
    if way == 'mmengine':
        turn_on_activation_checkpointing(checkpointed, list(ours.se_stages))
        images.requires_grad_()  # its checkpoints have no gradients without those of the input
    for module in checkpointed.modules():
        if hasattr(module, 'with_cp'):
            module.with_cp = way == 'with_cp'
    for backbone in (ours, checkpointed):  # two forwards before the backward, of other sizes
        outputs = [*backbone(images), *backbone(images.flip(0)[..., :160])]
        sum(output.square().mean() for output in outputs).backward()
    for expected, found in zip(ours.parameters(), checkpointed.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad)


def test_activation_checkpointing_needs_a_backward_from_the_outputs(images):
    _, ours = make('RegNet', out_indices=(3,))
    inner = []
    ours.layer3[0].register_forward_hook(lambda _, inputs, output: inner.append(output))
    turn_on_activation_checkpointing(ours, ['layer2'])
    for _ in range(2):  # what a backward knew is forgotten
        sum(output.square().mean() for output in ours(images)).backward()
        ours(images)
        with pytest.raises(UsageError, match='Activation checkpointing'):
            inner[-1].mean().backward()


def test_a_backward_that_failed_is_forgotten(images):
    _, ours = make('RegNet')
    sizes = []
    ours.layer1[0].register_forward_pre_hook(lambda block, inputs: sizes.append(sizes_at(*inputs)))
    ours.conv1.weight.register_hook(lambda gradient: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ours(images)[3].mean().backward()
    ours.layer1(torch.zeros(2, 32, 64, 96, dtype=torch.float64))
    assert sizes[0].tolist() == [[64, 96], [50, 75]] and sizes[1] is None


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


@pytest.mark.parametrize('name', ['HRNet', 'MobileNetV2', 'RegNet', 'Darknet'])
def test_exported_and_compiled(name):
    _, ours = make(name)
    images = torch.randn(2, 3, 128, 192, dtype=torch.float64)
    images[1, :, 100:] = 0
    expected = ours(images)
    assert_equal(torch.export.export(ours, (images,)).module()(images), expected)
    compiled = torch.compile(ours, backend='eager', fullgraph=True)
    assert_equal(compiled(images), expected)


def test_one_file_of_few_lines_each():
    for kind in map(backbones.__dict__.get, backbones.__all__):
        if issubclass(kind, SEBackbone) and kind.__name__.removeprefix('SE') in CASES:
            lines = inspect.getsource(inspect.getmodule(kind)).splitlines()
            code = [line for line in lines if line.strip()]
            assert len(code) < 60, kind


def test_a_position_in_a_block_that_keeps_its_forward():
    with pytest.raises(ArgumentError, match=r"SEBottle2neck has SE after .* position='pre'"):
        MODELS.build(dict(type='mmdet.SERes2Net', depth=50, se_cfg=dict(position='pre')))


def test_se_of_hourglass_is_in_all_its_blocks():
    assert len(attentions(make('HourglassNet')[1])) == 16
    assert all(isinstance(se, SqueezeExcitation) for se in attentions(make('RegNet')[1]))


@pytest.mark.parametrize('backbone', ['SEResNet', 'SERegNet'])
def test_centernet_takes_views_of_the_last_map(backbone):
    cfg = load_config('mmdet::centernet/centernet_r18_8xb16-crop512-140e_coco.py')
    arguments = dict(depth=18) if backbone == 'SEResNet' else dict(arch='regnetx_400mf')
    cfg.model.backbone = dict(type=backbone, **arguments)
    if backbone == 'SERegNet':
        cfg.model.neck.in_channels = 384
    detector = MODELS.build(cfg.model)
    detector.eval()
    sample = DetDataSample(
        metainfo=dict(img_shape=(128, 128), border=(0, 128, 0, 128), batch_input_shape=(128, 128))
    )
    found = detector.predict(torch.randn(1, 3, 128, 128), [sample], rescale=False)
    assert len(found[0].pred_instances) > 0


def test_ssd_predicts_which_mmdetections_does_not():
    cfg = load_config('mmdet::ssd/ssd300_coco.py', se=True)
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.score_thr = 0
    detector = MODELS.build(cfg.model)
    detector.eval()
    sample = DetDataSample(metainfo=dict(img_shape=(300, 300)))
    found = detector.predict(torch.randn(1, 3, 300, 300), [sample], rescale=False)
    assert len(found[0].pred_instances) > 0


def test_a_head_of_ssd_may_have_a_loss_cls():
    class Head(SSDHead):
        def __init__(self):
            super().__init__(anchor_generator=SSD_ANCHORS)
            self.loss_cls = nn.Identity()

    assert isinstance(Head().loss_cls, nn.Identity)


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


def test_the_reduction_of_regnety_is_that_of_se():
    for kind, reduction in (('SE', 4), ('GC', 16)):
        backbone = MODELS.build(
            dict(type='mmdet.SERegNet', arch='regnety_400mf', se_cfg=dict(type=kind))
        )
        assert backbone.se_cfg.reductions == (reduction,) * 4


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


@pytest.mark.parametrize('argument', ['dcn', 'plugins', 'conv_cfg'])
def test_senet_takes_no_layers_of_others(argument):
    with pytest.raises(ArgumentError, match=f'SENet takes no {argument}'):
        MODELS.build(dict(type='mmdet.SENet', **{argument: dict(type='DCN')}))


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
