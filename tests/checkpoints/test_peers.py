"""Weights of timm and mmpretrain have the same feature maps here as in their own models.

The peers' models are initialised at random: what counts is that every weight ends where it belongs.
"""

import pytest
import timm
import torch
from mmdet.registry import MODELS
from mmpretrain.models import SEResNet, SEResNeXt

from se_det.checkpoints import ZOO
from se_det.checkpoints.architecture import describe_backbone
from se_det.checkpoints.layouts import find_backbone

TIMM = [
    'seresnet50',
    'seresnet101',
    'seresnet152',
    'seresnet152d',
    'seresnext50_32x4d',
    'seresnext101_32x4d',
    'seresnext101_64x4d',
    'legacy_seresnet18',
    'legacy_seresnet34',
    'legacy_seresnet50',
    'legacy_seresnet101',
    'legacy_seresnet152',
    'legacy_seresnext50_32x4d',
    'legacy_seresnext101_32x4d',
    'legacy_senet154',
    'seresnext26d_32x4d',
    'ecaresnet50d',
    'ecaresnet101d',
]
REGNETS = {
    'regnety_004': '400mf',
    'regnety_008': '800mf',
    'regnety_032': '3.2gf',
    'regnety_040': '4.0gf',
    'regnety_064': '6.4gf',
    'regnety_080': '8.0gf',
    'regnety_160': '16gf',
}
# By default one of each layout, stem, attention and kind of block; the others are wider or deeper.
QUICK = (
    'seresnet50',
    'legacy_seresnet18',
    'legacy_seresnext50_32x4d',
    'seresnext26d_32x4d',
    'ecaresnet50d',
    'regnety_004',
)
SIZE = 75, 101  # height and width, no multiples of the stride


def _some_are_long(names):
    return [pytest.param(n, marks=() if n in QUICK else pytest.mark.long) for n in names]


def _randomise(model):
    """Set every weight to random values, statistics and biases included."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.1, 0.5)  # larger ones amplify rounding errors
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                torch.nn.init.normal_(tensor, std=0.1)
        elif getattr(module, 'bias', None) is not None:
            torch.nn.init.normal_(module.bias, std=0.5)
    model.eval()
    return model


def _load(checkpoint, path, **cfg):
    """Load a file into a backbone, by default that which `describe_backbone` infers from it."""
    torch.save(checkpoint, path)
    cfg = cfg or describe_backbone(find_backbone(checkpoint))
    init_cfg = dict(type='SEPretrained', checkpoint=str(path))
    backbone = MODELS.build(dict(cfg, init_cfg=init_cfg))
    backbone.init_weights()
    backbone.eval()
    return backbone, cfg


def _assert_same_maps(ours, theirs, their_maps):
    """Compare in float32 layer by layer, in float64 with fused tails."""
    for dtype, ours.fused in [(torch.float32, False), (torch.float64, True)]:
        images = torch.randn(2, 3, *SIZE, dtype=dtype)
        _assert_equal(ours.to(dtype)(images), their_maps(theirs.to(dtype), images))


def _maps_of_timm(model, images):
    return model.forward_intermediates(images, intermediates_only=True)[1:]


def _assert_equal(ours, theirs):
    assert len(ours) == len(theirs) == 4
    for our_map, their_map in zip(ours, theirs, strict=True):
        assert our_map.shape == their_map.shape
        assert (our_map - their_map).abs().max() <= 1e-5 * their_map.abs().max()


@pytest.mark.parametrize('name', _some_are_long([*TIMM, *REGNETS]))
@torch.no_grad()
def test_timm(name, tmp_path):
    theirs = _randomise(timm.create_model(name))
    known = dict(type='SERegNet', arch=f'regnety_{REGNETS[name]}') if name in REGNETS else {}
    ours, cfg = _load(theirs.state_dict(), tmp_path / 'weights.pth', **known)
    _assert_same_maps(ours, theirs, _maps_of_timm)
    for weights in ZOO.values():
        if known and weights.name.startswith(f'timm/{name}.'):
            assert weights.backbone == cfg


@pytest.mark.parametrize('name', TIMM)
def test_the_zoo_describes_timms_files(name):
    with torch.device('meta'):
        found = find_backbone(timm.create_model(name).state_dict())
    described = dict(style='pytorch', stem_pool='padded') | describe_backbone(found)
    for weights in ZOO.values():
        if weights.name.startswith(f'timm/{name}.'):
            assert weights.backbone == described
            assert weights.layout == found.layout.name


@pytest.mark.parametrize('depth', [50, pytest.param(101, marks=pytest.mark.long)])
@pytest.mark.parametrize('backbone', [SEResNet, SEResNeXt])
@torch.no_grad()
def test_mmpretrain(backbone, depth, tmp_path):
    narrow = dict(stem_channels=32, base_channels=32) if backbone is SEResNet else {}
    theirs = _randomise(backbone(depth=depth, out_indices=(0, 1, 2, 3), **narrow))
    weights = {f'backbone.{key}': tensor for key, tensor in theirs.state_dict().items()}
    weights['head.fc.weight'] = torch.zeros(1000, 2048)
    ours, cfg = _load(dict(state_dict=weights, meta={}), tmp_path / 'weights.pth')
    _assert_same_maps(ours, theirs, lambda model, images: model(images))
    if backbone is SEResNet:
        public = ZOO[f'mmpretrain/se_resnet{depth}']
        assert dict(public.backbone, base_channels=32) == dict(
            cfg, style='pytorch', stem_pool='padded'
        )
        assert public.layout == find_backbone(weights).layout.name


def test_every_public_file_is_tested_with_its_peer():
    timms = {name.removeprefix('timm/').partition('.')[0] for name in ZOO if name[0] == 't'}
    assert timms <= {*TIMM, *REGNETS}
    assert {name for name in ZOO if name[0] == 'm'} == {
        f'mmpretrain/se_resnet{depth}' for depth in (50, 101)
    }


@pytest.mark.parametrize('name', [name for name in ZOO if name.startswith('timm/')])
def test_the_zoo_agrees_with_timms_configs(name):
    published = timm.get_pretrained_cfg(name.removeprefix('timm/'))
    weights = ZOO[name]
    assert weights.url == published.url
    assert weights.licence.lower() == published.license
    for key in ('mean', 'std'):
        ours = [value / 255 for value in weights.data_preprocessor[key]]
        assert ours == pytest.approx(getattr(published, key), abs=1e-4)
