import re
from pathlib import Path

import pytest
import torch
from mmdet.models.backbones.resnet import ResNet
from mmdet.registry import MODELS

from se_det.checkpoints import ZOO
from se_det.engine.launch import load_config

CONFIGS = sorted((Path(__file__).parents[1] / 'configs').glob('*.py'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_builds_and_backbone_is_what_the_name_says(path):
    cfg = load_config(str(path))
    assert 'se_det' in cfg.custom_imports.imports
    with torch.device('meta'):
        backbone = MODELS.build(cfg.model).backbone
    assert isinstance(backbone, ResNet)
    others = dict(senet154='SENet', regnety='SERegNet')
    if name := next((kind for part, kind in others.items() if part in path.stem), None):
        assert type(backbone).__name__ == name
        return
    assert type(backbone).__name__ == ('SEResNe' if '_se_' in path.stem else 'ResNe') + (
        'Xt' if '_x' in path.stem else 't'
    )
    size = next(part for part in path.stem.split('_') if part[0] in 'rx' and part[1:].isdigit())
    assert backbone.depth == int(size[1:])
    assert cfg.train_cfg.max_epochs == (
        24 if path.stem.endswith('_2x') else 5 if path.stem.endswith('_shapes') else 12
    )


@pytest.mark.parametrize(
    'path',
    [path for path in CONFIGS if re.search('_se_|senet|regnety', path.stem)],
    ids=lambda path: path.stem,
)
def test_backbone_is_the_one_that_its_weights_were_trained_for(path):
    cfg = load_config(str(path))
    init_cfg = cfg.model.backbone.get('init_cfg')
    if init_cfg is None:
        assert path.stem.endswith(('_shapes', '_graft'))
        return
    assert init_cfg.type == 'SEPretrained'
    weights = ZOO[init_cfg.checkpoint]
    optimizer = dict(plain='SGD', strong='AdamW')[weights.recipe]
    assert cfg.optim_wrapper.optimizer.type == optimizer
    defaults = dict(style='pytorch', stem_pool='padded')
    for name, value in {**defaults, **weights.backbone}.items():
        assert cfg.model.backbone.get(name, defaults.get(name)) == value, name
    assert cfg.model.data_preprocessor.bgr_to_rgb


def test_configs_are_short():
    for path in CONFIGS:
        if not path.stem.endswith('r50_shapes'):
            assert len(path.read_text().splitlines()) <= 12, path.name


@pytest.mark.parametrize('depth', [50, 101])
def test_plain_controls_differ_in_the_backbone_alone(depth):
    plain = load_config(f'configs/faster_rcnn_r{depth}.py')
    ours = load_config(f'configs/faster_rcnn_se_r{depth}.py')
    for cfg in (plain, ours):
        cfg.model.pop('backbone')
        cfg.pop('work_dir')
    assert plain.to_dict() == ours.to_dict()


def test_the_readme_lists_the_public_weights():
    readme = (CONFIGS[0].parent / 'README.md').read_text()
    for weights in ZOO.values():
        row = next(line for line in readme.splitlines() if line.startswith(f'| `{weights.name}`'))
        size = f'SE-{"X" if weights.groups > 1 else "R"}{weights.depth}'
        if weights.attention == 'ECA':
            size = f'ECA-R{weights.depth}'
        elif weights.depth == 154:
            size = 'SENet-154'
        elif weights.arch:
            size = f"`arch='{weights.arch}'`"
        top1 = f'{weights.top1:.2f}' + (
            f' ({weights.top1_size})' if weights.top1_size > 224 else ''
        )
        assert size in row and row.endswith(f'| {top1} | {weights.recipe} |')
        assert ('deep_stem=True, avg_down=True' in row) == weights.deep_stem
        assert ("style='caffe'" in row) == (weights.style == 'caffe')
        is_default = weights.depth == 154 or weights.stem_pool == 'padded'
        assert ("stem_pool='ceil'" in row) != is_default
        assert ('relu_before_se' in row) == weights.relu_before_se


def test_the_graft_config_starts_as_the_plain_detector(tmp_path, monkeypatch):
    """A random detector replaces MMDetection's published one."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    cfg = load_config('configs/faster_rcnn_se_r50_graft.py')
    plain = MODELS.build(load_config('configs/faster_rcnn_r50.py').model)
    published = tmp_path / 'published.pth'
    torch.save(dict(meta=dict(CLASSES=('a',)), state_dict=plain.state_dict()), published)
    urlopen = torch.hub.urlopen
    monkeypatch.setattr(torch.hub, 'urlopen', lambda *_, **__: urlopen(published.as_uri()))
    cfg.model.backbone.se_cfg = dict(fused=False)
    grafted = MODELS.build(cfg.model)
    grafted.init_weights()
    plain.to(memory_format=torch.channels_last)  # as the backbone of the grafted one
    plain.eval(), grafted.eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for ours, theirs in zip(
            grafted.extract_feat(images), plain.extract_feat(images), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    for part in ('rpn_head', 'roi_head'):
        weights = getattr(plain, part).state_dict()
        assert all(
            torch.equal(w, weights[k]) for k, w in getattr(grafted, part).state_dict().items()
        )
