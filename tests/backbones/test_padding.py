"""The squeeze leaves out the padding of a batch, whatever the backbone and however it is run."""

import copy

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmengine.runner import turn_on_activation_checkpointing
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from se_det.backbones import SEResNet, SEResNeXt
from se_det.layers import SqueezeExcitation, padding

SMALL = dict(depth=50, base_channels=16, norm_eval=False, zero_init_residual=False)
IMAGES = [(64, 96), (50, 70)]
CONTEXT = dict(type='ContextBlock', ratio=1 / 4)


@pytest.fixture
def batch(rgb):
    """Images of `IMAGES` as mmdet normalises and pads them."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, *size), generator=generator) for size in IMAGES]
    preprocess = DetDataPreprocessor(pad_size_divisor=32, **rgb)
    return preprocess(dict(inputs=images, data_samples=None))['inputs']


def _make(kind=SEResNet, se_cfg=(), **options):
    torch.manual_seed(0)
    model = kind(se_cfg=dict(dict(reduction=4), **dict(se_cfg)), **{**SMALL, **options})
    model.eval()
    return model


def _sizes_by_stage(model, x):
    """The sizes that the SE blocks of each stage are called with."""
    found = {}

    def keep(stage):
        def hook(_, inputs, __):
            sizes = inputs[1].sizes.tolist() if len(inputs) > 1 else None
            found.setdefault(stage, []).append(sizes)

        return hook

    handles = [
        module.register_forward_hook(keep(name.split('.')[0]))
        for name, module in model.named_modules()
        if isinstance(module, SqueezeExcitation)
    ]
    model(x)
    for handle in handles:
        handle.remove()
    return found


def _gradients(model, *outputs):
    sum(maps[-1].square().sum() for maps in outputs).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ('options', 'strides'),
    [
        (dict(), (4, 8, 16, 32)),
        (dict(depth=18), (4, 8, 16, 32)),
        (dict(kind=SEResNeXt, groups=4, base_width=16), (4, 8, 16, 32)),
        (dict(style='caffe', stem_pool='ceil'), (4, 8, 16, 32)),
        (dict(deep_stem=True, avg_down=True), (4, 8, 16, 32)),
        (dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)), (4, 8, 16, 16)),
        (dict(num_stages=2, strides=(2, 2), dilations=(1, 1), out_indices=(0, 1)), (8, 16)),
        (dict(dcn=dict(type='DCNv2', deform_groups=1), stage_with_dcn=(True,) * 4), (4, 8, 16, 32)),
        (dict(plugins=[dict(cfg=CONTEXT, position='after_conv3')]), (4, 8, 16, 32)),
        (dict(with_cp=True), (4, 8, 16, 32)),
        (dict(se_cfg=dict(fused=False)), (4, 8, 16, 32)),
    ],
    ids=str,
)
def test_squeezes_know_where_the_images_end(options, strides, batch):
    found = _sizes_by_stage(_make(**options), batch)
    for stage, stride in enumerate(strides, 1):
        expected = [[-(-edge // stride) for edge in size] for size in IMAGES]
        assert found[f'layer{stage}'] == [expected] * len(found[f'layer{stage}'])
    assert len(found) == len(strides)


def test_a_stage_without_se_between_stages_with_it(batch):
    found = _sizes_by_stage(_make(se_cfg=dict(stages=(True, False, True, False))), batch)
    assert {stage: sizes[0] for stage, sizes in found.items()} == {
        'layer1': [[16, 24], [13, 18]],
        'layer3': [[4, 6], [4, 5]],
    }


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(depth=18),
        dict(kind=SEResNeXt, groups=4, base_width=16),
        dict(style='caffe', stem_pool='ceil', deep_stem=True, avg_down=True),
        dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
        dict(with_cp=True),
    ],
    ids=str,
)
def test_fused_tails_agree_with_the_layers(options, training, batch):
    model = _make(**options).double()
    model.train(training)
    plain = copy.deepcopy(model)
    plain.fused = False
    outputs = [twin(batch.double()) for twin in (model, plain)]
    for found, expected in zip(*outputs, strict=True):
        assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    expected_gradients = _gradients(plain, outputs[1])
    for name, found in _gradients(model, outputs[0]).items():
        expected = expected_gradients[name]
        assert (found - expected).norm() <= 1e-9 * expected.norm() + 1e-12, name


def test_nothing_changes_where_nothing_is_padded(batch):
    x = torch.cat([batch[:1], batch[:1].flip(3)])
    model = _make()
    masked = model(x)
    model.mask_padding = False
    for found, expected in zip(masked, model(x), strict=True):
        assert torch.equal(found, expected)
    assert set(map(tuple, _sizes_by_stage(model, batch).values())) <= {
        (None,) * n for n in range(9)
    }


def test_without_mask_padding_the_squeeze_is_over_the_whole_map(batch):
    assert _sizes_by_stage(_make(), batch)['layer1'][0] is not None
    for sizes in _sizes_by_stage(_make(se_cfg=dict(mask_padding=False)), batch).values():
        assert set(sizes) == {None}


def test_the_mask_is_switched_after_building(batch):
    model = _make(se_cfg=dict(mask_padding=False), with_cp=True)
    unmasked = _sizes_by_stage(model, batch)
    model.mask_padding = True
    assert _sizes_by_stage(model, batch) == _sizes_by_stage(_make(), batch)
    model.mask_padding = False
    assert _sizes_by_stage(model, batch) == unmasked
    _gradients(model, model(batch))


def test_padding_with_another_value_is_of_the_image(batch):
    x = batch.masked_fill(batch == 0, 0.1)
    model = _make()
    masked = model(x)
    model.mask_padding = False
    for found, expected in zip(masked, model(x), strict=True):
        assert torch.equal(found, expected)


def test_state_dicts_are_those_without_masks():
    masked, unmasked = (_make(se_cfg=dict(mask_padding=mask)) for mask in (True, False))
    assert list(masked.state_dict()) == list(unmasked.state_dict())
    assert 'layer1.0.se.fc1.weight' in masked.state_dict()


class _Counter(TorchDispatchMode):
    """Counts the operators that are called."""

    count = 0

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        self.count += 1
        return operator(*arguments, **(options or {}))


def _operators(model, x):
    """How many operators each block calls."""
    blocks = [block for stage in model.res_layers for block in getattr(model, stage)]
    counts = []
    handles = [
        handle
        for block in blocks
        for handle in (
            block.register_forward_pre_hook(lambda *_: counts.append(-counter.count)),
            block.register_forward_hook(lambda *_: counts.append(counts.pop() + counter.count)),
        )
    ]
    with _Counter() as counter:
        model(x)
    for handle in handles:
        handle.remove()
    return counts


def test_padding_costs_two_operators_a_block_and_is_found_once_for_each_size(batch, monkeypatch):
    model = _make(se_cfg=dict(fused=False))
    found = []
    make = padding.Padding
    monkeypatch.setattr(
        padding, 'Padding', lambda sizes, x: found.append(x.shape[2:]) or make(sizes, x)
    )
    model(batch)  # the strides of its maps are found once
    found.clear()
    padded = _operators(model, batch)
    assert [tuple(size) for size in found] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    whole = _operators(model, torch.cat([batch[:1], batch[:1].flip(3)]))
    assert len(found) == 4
    more = [ours - theirs for ours, theirs in zip(padded, whole, strict=True)]
    assert len(more) == 16
    first_of_stages = [0, 3, 7, 13]
    assert all(n <= 2 for block, n in enumerate(more) if block not in first_of_stages)
    assert sum(more) <= 2 * 16 + 4 * 28


def _checkpoint_blocks(model):
    for stage in model.res_layers:
        for block in getattr(model, stage):
            block.with_cp = True


def _checkpoint_stages(model):
    turn_on_activation_checkpointing(model, model.res_layers)


@pytest.mark.parametrize('checkpointing', [_checkpoint_blocks, _checkpoint_stages])
@pytest.mark.parametrize('fused', [None, False])
def test_recomputation_after_other_images_went_through(checkpointing, fused, batch):
    plain = _make(se_cfg=dict(fused=fused)).double()
    checkpointed = copy.deepcopy(plain)
    checkpointing(checkpointed)
    padded = batch.double()
    otherwise = padded.clone()
    otherwise[1] = F.pad(padded[1, :, :33, :50], (0, 46, 0, 31))
    whole = padded[:1].expand(2, -1, -1, -1)
    gradients = []
    for model in (plain, checkpointed):
        outputs = [model(x) for x in (padded, otherwise, whole)]
        gradients.append(_gradients(model, *outputs))
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-12, atol=0, msg=name)


@pytest.mark.parametrize(
    'options',
    [
        dict(depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1)),
        pytest.param(dict(), marks=pytest.mark.long),
    ],
    ids=str,
)
def test_compiled_exported_and_traced_backbones(options, batch):
    model = _make(**options)
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    auto = torch.export.Dim.AUTO
    shapes = ({0: auto, 2: auto, 3: auto},)
    exported = torch.export.export(model, (batch,), dynamic_shapes=shapes).module()
    traced = torch.jit.trace(model, batch)
    symbolic = torch.fx.symbolic_trace(model)
    otherwise = F.pad(batch[1:, :, :40, :60].repeat(3, 1, 1, 1), (0, 4, 0, 56))
    whole = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for x in (batch, otherwise, whole):
            expected = model(x)
            for run in (compiled, exported, traced, symbolic):
                for found, value in zip(run(x), expected, strict=True):
                    torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-6)


class _Halved(nn.Module):
    def forward(self, x):
        return x / 2


def _replace(block):
    block.se = _Halved()


def _patch(block):
    block.se.forward = lambda x: x / 2


@pytest.mark.parametrize('change', [_replace, _patch])
def test_a_replaced_se_is_called_with_the_map_alone(change, batch):
    model = _make()
    for module in list(model.modules()):
        if hasattr(module, 'se'):
            change(module)
    assert model(batch)[-1].isfinite().all()
