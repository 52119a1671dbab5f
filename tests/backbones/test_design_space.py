"""``position`` and ``type`` in se_cfg: each against the composition of the block's own layers."""

import copy

import pytest
import torch

from se_det.backbones import SEResNet, SEResNeXt
from se_det.backbones.se_cfg import POSITIONS

SMALL = dict(base_channels=16, norm_eval=False, zero_init_residual=False)


def make(kind=SEResNet, depth=50, **se_cfg):
    torch.manual_seed(0)
    options = dict(SMALL, groups=4, base_width=16) if kind is SEResNeXt else SMALL
    if se_cfg.get('type') not in ('ECA', 'eSE'):
        se_cfg.setdefault('reduction', 4)
    model = kind(depth=depth, se_cfg=se_cfg, **options).double()
    model.eval()
    return model


def formula(block, position, x):
    """A block in the words of the paper's figure 5 and section 6.5."""
    shortcut = x if block.downsample is None else block.downsample(x)
    out = block.se(x) if position == 'pre' else x
    out = block.norm1(block.conv1(out)).relu()
    if hasattr(block, 'conv3'):
        out = block.norm2(block.conv2(out)).relu()
        out = block.se(out) if position == '3x3' else out
        out = block.norm3(block.conv3(out))
    else:
        out = block.norm2(block.conv2(out))
    if position == 'standard':
        return (shortcut + block.se(out)).relu()
    if position == 'identity':
        return (block.se(shortcut) + out).relu()
    out = (shortcut + out).relu()
    return block.se(out) if position == 'post' else out


@pytest.mark.parametrize('position', POSITIONS)
@pytest.mark.parametrize(('kind', 'depth'), [(SEResNet, 50), (SEResNet, 18), (SEResNeXt, 50)])
def test_positions(kind, depth, position):
    if depth == 18 and position == '3x3':
        pytest.skip('a basic block has none')
    model = make(kind, depth, position=position)
    for stage in (model.layer1, model.layer2):
        for block in (stage[0], stage[1]):
            x = torch.randn(2, block.conv1.in_channels, 10, 12, dtype=torch.float64)
            torch.testing.assert_close(block(x), formula(block, position, x))


@pytest.mark.parametrize('position', POSITIONS)
def test_padding_is_left_out_at_each_position(position):
    model = make(position=position)
    images = torch.randn(2, 3, 128, 128, dtype=torch.float64)
    images[1, :, 70:] = 0
    images[1, :, :, 100:] = 0
    found = []
    for stage in (model.layer1, model.layer2):
        stage[0].se.register_forward_pre_hook(
            lambda _, inputs: found.append(inputs[1].sizes.tolist())
        )
    model(images)
    second = [[128, 128], [70, 100]]
    strides = (4, 4) if position == 'pre' else (4, 8)
    expected = [[[-(-edge // stride) for edge in size] for size in second] for stride in strides]
    assert found == expected


@pytest.mark.parametrize('kind', ['SE', 'ECA', 'eSE', 'CBAM', 'GC'])
@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_types_fused_and_plain(kind, training):
    fused = make(type=kind)
    plain = copy.deepcopy(fused)
    plain.fused = False
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    gradients = []
    for model in (fused, plain):
        model.train(training)
        outputs = model(images)
        sum(output.square().mean() for output in outputs).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, expected in gradients[1].items():
        if expected is not None:
            assert (gradients[0][name] - expected).norm() <= 1e-8 * expected.norm() + 1e-12, name


@pytest.mark.parametrize('options', [dict(squeeze='max'), dict(squeeze=None), dict(gate='tanh')])
def test_squeezes_and_gates_in_a_backbone(options):
    model = make(**options)
    plain = copy.deepcopy(model)
    plain.fused = False
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for found, expected in zip(model(images), plain(images), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_3x3_position_has_fewer_parameters():
    """Section 6.5: SE_3x3 has fewer, as its maps have fewer channels."""
    with torch.device('meta'):
        sizes = [
            sum(p.numel() for p in SEResNet(depth=50, se_cfg=dict(position=p_)).parameters())
            for p_ in ('standard', '3x3')
        ]
    assert sizes[1] < sizes[0]
