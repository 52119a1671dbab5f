"""SE-ResNeXt is the paper's, and in all but the SE blocks mmdet's ResNeXt."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.backbones.resnext import Bottleneck as ResNeXtBottleneck
from mmdet.models.backbones.resnext import ResNeXt
from mmdet.registry import MODELS
from torch import nn
from torch.func import functional_call

from se_det.backbones import SEResNeXt, SEResNeXtBottleneck

from .conftest import make_block

CLASSES = 1000  # of ImageNet
WITHOUT_SE = dict(stages=(False, False, False, False))
SMALL = dict(depth=50, groups=4, base_width=4, base_channels=16, norm_eval=False)
CONTEXT = dict(type='ContextBlock', ratio=1 / 4)
NOT_IN_STAGE_1 = (False, True, True, True)


def classifier_size(**kwargs) -> int:
    """Parameters of the image classifier with this backbone."""
    with torch.device('meta'):
        model = SEResNeXt(**kwargs)
    backbone = sum(parameter.numel() for parameter in model.parameters())
    return backbone + model.feat_dim * CLASSES + CLASSES


@pytest.mark.parametrize(
    ('depth', 'groups', 'parameters'),
    [(50, 32, 27_559_896), (101, 32, 48_955_416), (101, 64, 88_232_984)],
)
def test_size_with_se(depth, groups, parameters):
    assert classifier_size(depth=depth, groups=groups, base_width=4) == parameters


@pytest.mark.parametrize(('depth', 'parameters'), [(50, 25_028_904), (101, 44_177_704)])
def test_size_without_se(depth, parameters):
    size = classifier_size(depth=depth, groups=32, base_width=4, se_cfg=WITHOUT_SE)
    assert size == parameters


@pytest.mark.parametrize(
    ('stage', 'index'), [('layer1', 1), ('layer2', 0)], ids=['identity', 'downsampling']
)
def test_block_is_the_papers_figure_3(stage, index):
    torch.manual_seed(0)
    block = getattr(SEResNeXt(**SMALL), stage)[index].double()
    x = torch.randn(2, block.conv1.in_channels, 6, 6, dtype=torch.float64)
    out = F.relu(block.norm1(block.conv1(x)))
    out = F.relu(block.norm2(block.conv2(out)))
    out = block.norm3(block.conv3(out))
    gate = torch.sigmoid(block.se.fc2(F.relu(block.se.fc1(out.mean((2, 3), keepdim=True)))))
    identity = block.downsample(x) if block.downsample else x
    torch.testing.assert_close(block(x), F.relu(identity + out * gate))


def test_gradients_of_a_block_by_input_and_parameters():
    torch.manual_seed(0)
    options = dict(groups=2, base_width=1, base_channels=2, se_cfg=dict(reduction=2))
    block = make_block(SEResNeXtBottleneck, 8, 2, **options).double().eval()
    for norm in (block.norm1, block.norm2, block.norm3):
        nn.init.normal_(norm.running_mean)
    names = [name for name, _ in block.named_parameters()]
    x = torch.randn(1, 8, 3, 3, dtype=torch.float64, requires_grad=True)

    def forward(x, *parameters):
        return functional_call(block, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(forward, (x, *block.parameters()))


@pytest.mark.parametrize(('groups', 'base_width'), [(32, 4), (64, 4), (8, 16)])
def test_the_3x3_convolution_has_the_groups_and_their_width(groups, base_width):
    with torch.device('meta'):
        conv = SEResNeXt(depth=50, groups=groups, base_width=base_width).layer1[0].conv2
    assert (conv.groups, conv.in_channels) == (groups, groups * base_width)


@pytest.mark.parametrize(('depth', 'groups'), [(50, 4), (101, 4), (152, 4), (50, 8)])
def test_without_se_outputs_are_mmdets_bit_for_bit(depth, groups, images, make_twins):
    options = {**SMALL, 'depth': depth, 'groups': groups}
    ours, mmdets = make_twins(SEResNeXt, ResNeXt, **options, se_cfg=WITHOUT_SE)
    for our_output, mmdets_output in zip(ours(images), mmdets(images), strict=True):
        assert torch.equal(our_output, mmdets_output)


@pytest.mark.parametrize('depth', [50, 101, 152])
def test_without_se_the_state_dict_has_mmdets_keys(depth):
    with torch.device('meta'):
        ours = SEResNeXt(depth=depth, groups=32, se_cfg=WITHOUT_SE)
        mmdets = ResNeXt(depth=depth, groups=32)
    assert list(ours.state_dict()) == list(mmdets.state_dict())


@pytest.mark.parametrize('depth', [50, 101, 152])
def test_with_gates_at_one_outputs_are_mmdets_bit_for_bit(depth, images, make_twins):
    ours, mmdets = make_twins(SEResNeXt, ResNeXt, **{**SMALL, 'depth': depth})
    for our_output, mmdets_output in zip(ours(images), mmdets(images), strict=True):
        assert torch.equal(our_output, mmdets_output)


@pytest.mark.parametrize(
    'option',
    [
        dict(style='caffe'),
        dict(deep_stem=True, avg_down=True),
        dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), out_indices=(1, 3)),
        dict(norm_cfg=dict(type='GN', num_groups=8)),
        dict(frozen_stages=1, norm_eval=True),
        *(
            dict(dcn=dict(type=dcn, deform_groups=1), stage_with_dcn=NOT_IN_STAGE_1)
            for dcn in ('DCN', 'DCNv2')
        ),
        *(
            dict(plugins=[dict(cfg=CONTEXT, position=position)])
            for position in ('after_conv1', 'after_conv2', 'after_conv3')
        ),
    ],
    ids=str,
)
def test_every_option_does_what_it_does_in_mmdet(option, images, make_twins):
    ours, mmdets = make_twins(SEResNeXt, ResNeXt, **{**SMALL, **option})
    for our_output, mmdets_output in zip(ours(images), mmdets(images), strict=True):
        assert torch.equal(our_output, mmdets_output)


@pytest.mark.parametrize('zero_init_residual', [False, True])
def test_zero_init_residual_zeroes_the_last_norm(zero_init_residual):
    model = SEResNeXt(**SMALL, zero_init_residual=zero_init_residual)
    model.init_weights()
    blocks = [module for module in model.modules() if isinstance(module, SEResNeXtBottleneck)]
    weights = torch.cat([block.norm3.weight for block in blocks])
    assert weights.unique().tolist() == [0 if zero_init_residual else 1]


def test_a_frozen_stage_freezes_its_se_blocks():
    model = SEResNeXt(**SMALL, frozen_stages=1)
    assert not any(p.requires_grad for block in model.layer1 for p in block.se.parameters())
    assert all(p.requires_grad for block in model.layer2 for p in block.se.parameters())


def test_stages_without_se_are_of_mmdets_blocks():
    model = SEResNeXt(**SMALL, se_cfg=dict(stages=(True, False, True, False)))
    assert [{type(block) for block in getattr(model, name)} for name in model.res_layers] == [
        {SEResNeXtBottleneck},
        {ResNeXtBottleneck},
        {SEResNeXtBottleneck},
        {ResNeXtBottleneck},
    ]


def test_checkpointing_changes_no_output_and_no_gradient(images):
    torch.manual_seed(0)
    plain, checkpointed = SEResNeXt(**SMALL), SEResNeXt(**SMALL, with_cp=True)
    checkpointed.load_state_dict(plain.state_dict())
    for model in (plain, checkpointed):
        model.outputs = model(images)
        sum(output.square().sum() for output in model.outputs).backward()
    for expected, found in zip(plain.outputs, checkpointed.outputs, strict=True):
        assert torch.equal(found, expected)
    for expected, found in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        assert torch.equal(found.grad, expected.grad)


def test_stem_pool_is_passed_on():
    model = SEResNeXt(**SMALL, stem_pool='ceil')
    assert (model.maxpool.padding, model.maxpool.ceil_mode) == (0, True)


def test_the_registry_builds_it_by_name():
    with torch.device('meta'):
        model = MODELS.build(dict(type='SEResNeXt', depth=50, groups=32, base_width=4))
    assert type(model) is SEResNeXt
