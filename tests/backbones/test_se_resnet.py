"""SE-ResNet is the paper's, and in all but the SE blocks mmdet's ResNet."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn
from torch.func import functional_call

from se_det.backbones import SEBasicBlock, SEBottleneck, SEResNet

from .conftest import make_block

DEPTHS = (18, 34, 50, 101, 152)
CLASSES = 1000  # of ImageNet
WITHOUT_SE = dict(stages=(False, False, False, False))
SMALL = dict(depth=50, base_channels=16, norm_eval=False)  # all of depth 50, but narrow
CONTEXT = dict(type='ContextBlock', ratio=1 / 4)
ATTENTION = dict(
    type='GeneralizedAttention', spatial_range=-1, num_heads=8, attention_type='1111', kv_stride=2
)
NOT_IN_STAGE_1 = (False, True, True, True)


def meta_model(**kwargs) -> SEResNet:
    """A model that has shapes but no memory."""
    with torch.device('meta'):
        return SEResNet(**kwargs)


def classifier_size(model: SEResNet) -> int:
    """Parameters of the image classifier that has ``model`` as its backbone."""
    backbone = sum(parameter.numel() for parameter in model.parameters())
    return backbone + model.feat_dim * CLASSES + CLASSES


def size_without_se_biases(se_cfg: dict) -> int:
    """Parameters of the SE-ResNet-50 classifier as the paper counts: its FC layers have no bias."""
    model = meta_model(depth=50, se_cfg=se_cfg)
    biases = [p for name, p in model.named_parameters() if '.se.' in name and name.endswith('bias')]
    return classifier_size(model) - sum(bias.numel() for bias in biases)


def stages(model: SEResNet) -> list[nn.Module]:
    return [getattr(model, name) for name in model.res_layers]


def blocks(model: SEResNet) -> list[nn.Module]:
    return [block for stage in stages(model) for block in stage]


def batch_norms(model: nn.Module) -> dict[str, nn.Module]:
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}


def residual_by_hand(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """``relu(x + SE(R(x)))`` from the layers of a block (arXiv 1709.01507, figure 3)."""
    out = F.relu(block.norm1(block.conv1(x)))
    out = block.norm2(block.conv2(out))
    if isinstance(block, Bottleneck):
        out = block.norm3(block.conv3(F.relu(out)))
    gate = torch.sigmoid(block.se.fc2(F.relu(block.se.fc1(out.mean((2, 3), keepdim=True)))))
    identity = block.downsample(x) if block.downsample else x
    return F.relu(identity + out * gate)


class TestSize:
    @pytest.mark.parametrize(
        ('depth', 'parameters'),
        [
            (18, 11_778_592),
            (34, 21_958_868),
            (50, 28_088_024),
            (101, 49_326_872),
            (152, 66_821_848),
        ],
    )
    def test_with_se(self, depth, parameters):
        assert classifier_size(meta_model(depth=depth)) == parameters

    @pytest.mark.parametrize(
        ('depth', 'parameters'), [(50, 25_557_032), (101, 44_549_160), (152, 60_192_808)]
    )
    def test_without_se(self, depth, parameters):
        assert classifier_size(meta_model(depth=depth, se_cfg=WITHOUT_SE)) == parameters

    @pytest.mark.parametrize(
        ('reduction', 'millions'), [(2, 45.7), (4, 35.7), (8, 30.7), (16, 28.1), (32, 26.9)]
    )
    def test_by_reduction_is_the_papers_table_10_to_its_last_digit(self, reduction, millions):
        size = classifier_size(meta_model(depth=50, se_cfg=dict(reduction=reduction)))
        assert size / 1e6 == pytest.approx(millions, abs=0.1)

    @pytest.mark.parametrize(
        ('stages_with_se', 'percent'),
        [((True, True, True, True), 9.84), ((True, True, True, False), 3.69)],
    )
    def test_most_of_what_se_adds_is_in_the_last_stage(self, stages_with_se, percent):
        plain = size_without_se_biases(WITHOUT_SE)
        added = size_without_se_biases(dict(stages=stages_with_se)) / plain - 1
        assert round(100 * added, 2) == percent


class TestBlocks:
    @pytest.mark.parametrize(('stage', 'index'), [(0, 1), (1, 0)], ids=['identity', 'downsampling'])
    @pytest.mark.parametrize('depth', [18, 50])
    def test_forward_is_the_papers_figure_3(self, depth, stage, index):
        torch.manual_seed(0)
        block = stages(SEResNet(**{**SMALL, 'depth': depth}))[stage][index].double()
        channels = block.conv1.in_channels
        x = torch.randn(2, channels, 6, 6, dtype=torch.float64)
        torch.testing.assert_close(block(x), residual_by_hand(block, x))

    @pytest.mark.parametrize('block_class', [SEBasicBlock, SEBottleneck])
    def test_gradients_by_input_and_parameters(self, block_class):
        torch.manual_seed(0)
        inplanes = 2 * block_class.expansion
        block = make_block(block_class, inplanes, 2, se_cfg=dict(reduction=2)).double().eval()
        for norm in batch_norms(block).values():
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
        names = [name for name, _ in block.named_parameters()]
        x = torch.randn(1, 2 * block.expansion, 3, 3, dtype=torch.float64, requires_grad=True)

        def forward(x, *parameters):
            return functional_call(block, dict(zip(names, parameters, strict=True)), (x,))

        assert torch.autograd.gradcheck(forward, (x, *block.parameters()))

    @pytest.mark.parametrize('depth', [18, 50])
    def test_gradients_reach_all_parameters(self, depth, images):
        torch.manual_seed(0)
        model = SEResNet(**{**SMALL, 'depth': depth}, se_cfg=dict(reduction=1))
        sum(output.square().sum() for output in model(images)).backward()
        assert [name for name, p in model.named_parameters() if not p.grad.any()] == []


class TestMmdetsResNet:
    @pytest.mark.parametrize('depth', DEPTHS)
    def test_without_se_outputs_are_equal_bit_for_bit(self, depth, images, make_twins):
        options = {**SMALL, 'depth': depth}
        ours, mmdets = make_twins(SEResNet, ResNet, **options, se_cfg=WITHOUT_SE)
        for our_output, mmdets_output in zip(ours(images), mmdets(images), strict=True):
            assert torch.equal(our_output, mmdets_output)

    @pytest.mark.parametrize('depth', DEPTHS)
    def test_without_se_state_dicts_have_the_same_keys(self, depth):
        with torch.device('meta'):
            mmdets = ResNet(depth)
        ours = meta_model(depth=depth, se_cfg=WITHOUT_SE)
        assert list(ours.state_dict()) == list(mmdets.state_dict())

    @pytest.mark.parametrize('depth', DEPTHS)
    def test_with_gates_at_one_outputs_are_equal_bit_for_bit(self, depth, images, make_twins):
        ours, mmdets = make_twins(SEResNet, ResNet, **{**SMALL, 'depth': depth})
        for our_output, mmdets_output in zip(ours(images), mmdets(images), strict=True):
            assert torch.equal(our_output, mmdets_output)

    @pytest.mark.parametrize(
        'option',
        [
            dict(style='caffe'),
            dict(deep_stem=True),
            dict(avg_down=True),
            dict(stem_channels=24),
            dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
            dict(out_indices=(1, 3)),
            dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2)),
            dict(norm_cfg=dict(type='GN', num_groups=8)),
            dict(conv_cfg=dict(type='ConvWS')),
            dict(frozen_stages=2),
            dict(norm_eval=True),
            dict(depth=18, style='caffe', deep_stem=True, avg_down=True),
            dict(depth=18, norm_cfg=dict(type='GN', num_groups=8)),
            *(
                dict(
                    dcn=dict(type=dcn, deform_groups=1, fallback_on_stride=fallback),
                    stage_with_dcn=NOT_IN_STAGE_1,
                )
                for dcn in ('DCN', 'DCNv2')
                for fallback in (False, True)
            ),
            *(
                dict(plugins=[dict(cfg=CONTEXT, position=position)])
                for position in ('after_conv1', 'after_conv2', 'after_conv3')
            ),
            dict(
                plugins=[
                    dict(cfg=ATTENTION, position='after_conv2', stages=NOT_IN_STAGE_1),
                    dict(cfg=dict(CONTEXT, postfix=1), position='after_conv3'),
                    dict(cfg=dict(CONTEXT, postfix=2), position='after_conv3'),
                ]
            ),
        ],
        ids=str,
    )
    def test_every_option_does_the_same(self, option, images, make_twins):
        ours, mmdets = make_twins(SEResNet, ResNet, **{**SMALL, **option})
        for our_output, mmdets_output in zip(ours(images), mmdets(images), strict=True):
            assert torch.equal(our_output, mmdets_output)


class TestOptions:
    @pytest.mark.parametrize(
        ('style', 'conv_with_stride'), [('pytorch', 'conv2'), ('caffe', 'conv1')]
    )
    def test_style_says_which_convolution_has_the_stride(self, style, conv_with_stride):
        block = SEResNet(**SMALL, style=style).layer2[0]
        strides = {name: getattr(block, name).stride for name in ('conv1', 'conv2', 'conv3')}
        assert [name for name, stride in strides.items() if stride == (2, 2)] == [conv_with_stride]

    @pytest.mark.parametrize('depth', [18, 50])
    def test_checkpointing_changes_no_output_and_no_gradient(self, depth, images):
        torch.manual_seed(0)
        plain = SEResNet(**{**SMALL, 'depth': depth})
        checkpointed = SEResNet(**{**SMALL, 'depth': depth}, with_cp=True)
        checkpointed.load_state_dict(plain.state_dict())
        for model in (plain, checkpointed):
            model.outputs = model(images)
            sum(output.square().sum() for output in model.outputs).backward()
        for expected, found in zip(plain.outputs, checkpointed.outputs, strict=True):
            assert torch.equal(found, expected)
        for expected, found in zip(plain.parameters(), checkpointed.parameters(), strict=True):
            assert torch.equal(found.grad, expected.grad)

    @pytest.mark.parametrize(('with_cp', 'runs'), [(False, 1), (True, 2)])
    def test_checkpointing_runs_a_block_again_for_its_gradient(self, with_cp, runs, images):
        model = SEResNet(**SMALL, with_cp=with_cp)
        runs_found = []
        model.layer3[1].conv1.register_forward_hook(lambda *_: runs_found.append(1))
        model(images)[-1].sum().backward()
        assert len(runs_found) == runs

    @pytest.mark.parametrize('frozen_stages', range(-1, 5))
    def test_frozen_stages_keep_their_parameters_and_statistics(self, frozen_stages):
        model = SEResNet(**SMALL, frozen_stages=frozen_stages)
        model.train()
        parts = ['conv1.', 'bn1.'] if frozen_stages >= 0 else []
        parts += [f'layer{stage}.' for stage in range(1, frozen_stages + 1)]
        parameters = dict(model.named_parameters())
        norms = batch_norms(model)
        assert [name for name, p in parameters.items() if not p.requires_grad] == [
            name for name in parameters if name.startswith(tuple(parts))
        ]
        assert [name for name, norm in norms.items() if not norm.training] == [
            name for name in norms if f'{name}.'.startswith(tuple(parts))
        ]

    def test_a_frozen_stage_freezes_its_se_blocks(self):
        model = SEResNet(**SMALL, frozen_stages=1)
        assert not any(p.requires_grad for block in model.layer1 for p in block.se.parameters())

    @pytest.mark.parametrize('norm_eval', [False, True])
    def test_norm_eval_keeps_batch_norm_in_eval_mode(self, norm_eval):
        model = SEResNet(**{**SMALL, 'norm_eval': norm_eval})
        model.train()
        assert {norm.training for norm in batch_norms(model).values()} == {not norm_eval}

    @pytest.mark.parametrize(('depth', 'last_norm'), [(18, 'norm2'), (50, 'norm3')])
    @pytest.mark.parametrize('zero_init_residual', [False, True])
    def test_zero_init_residual_zeroes_the_last_norm(self, depth, last_norm, zero_init_residual):
        model = SEResNet(**{**SMALL, 'depth': depth}, zero_init_residual=zero_init_residual)
        model.init_weights()
        weights = torch.cat([getattr(block, last_norm).weight for block in blocks(model)])
        assert weights.unique().tolist() == [0 if zero_init_residual else 1]

    def test_init_weights_reaches_the_se_blocks(self):
        model = SEResNet(**SMALL)
        model.init_weights()
        assert not any(
            block.se.fc1.bias.any() or block.se.fc2.bias.any() for block in blocks(model)
        )

    @pytest.mark.parametrize(('stem_pool', 'first'), [('padded', -1), ('ceil', 0)])
    def test_stem_pool_says_where_the_first_window_starts(self, stem_pool, first):
        row = torch.randperm(8, generator=torch.Generator().manual_seed(0)).float()
        windows = [row[max(0, start) : start + 3] for start in range(first, first + 8, 2)]
        pooled = meta_model(**SMALL, stem_pool=stem_pool).maxpool(row.expand(1, 1, 8, 8))
        assert pooled[0, 0, 0].tolist() == [window.max() for window in windows]


class TestSeCfg:
    @pytest.mark.parametrize(
        ('reduction', 'hidden'),
        [
            (16, [16, 32, 64, 128]),
            (8, [32, 64, 128, 256]),
            ((2, 4, 8, 16), [128, 128, 128, 128]),
        ],
    )
    def test_reduction_sets_the_hidden_channels_of_each_stage(self, reduction, hidden):
        model = meta_model(depth=50, se_cfg=dict(reduction=reduction))
        for stage, channels in zip(stages(model), hidden, strict=True):
            assert {block.se.fc1.out_channels for block in stage} == {channels}

    @pytest.mark.parametrize(
        ('depth', 'without_se', 'with_se'),
        [(18, BasicBlock, SEBasicBlock), (50, Bottleneck, SEBottleneck)],
    )
    def test_stages_without_se_are_of_mmdets_blocks(self, depth, without_se, with_se):
        model = meta_model(depth=depth, se_cfg=dict(stages=(True, False, True, False)))
        assert [{type(block) for block in stage} for stage in stages(model)] == [
            {with_se},
            {without_se},
            {with_se},
            {without_se},
        ]

    def test_default_is_se_with_reduction_16_in_every_block(self):
        names = list(meta_model(depth=50).state_dict())
        explicit = dict(reduction=16, stages=(True, True, True, True))
        assert names == list(meta_model(depth=50, se_cfg=explicit).state_dict())
        assert sum(name.endswith('se.fc1.weight') for name in names) == 16

    def test_a_config_file_may_give_lists(self):
        se_cfg = ConfigDict(reduction=[4, 8, 16, 32], stages=[False, True, True, True])
        model = meta_model(depth=50, se_cfg=se_cfg)
        assert model.se_cfg.reductions == (None, 8, 16, 32)

    def test_the_callers_dict_stays_as_it_was(self):
        se_cfg = dict(reduction=8, stages=(True, True, True, False))
        before = copy.deepcopy(se_cfg)
        meta_model(depth=50, se_cfg=se_cfg)
        assert se_cfg == before


def test_the_registry_builds_it_by_name():
    with torch.device('meta'):
        model = MODELS.build(dict(type='SEResNet', depth=50))
    assert type(model) is SEResNet
