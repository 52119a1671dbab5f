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
def test_config_builds_and_backbone_is_what_the_name_and_the_weights_say(path):
    cfg = load_config(str(path))
    assert 'se_det' in cfg.custom_imports.imports
    with torch.device('meta'):
        backbone = MODELS.build(cfg.model).backbone
    assert isinstance(backbone, ResNet)
    if re.search('_se_|senet|regnety', path.stem):
        _check_weights(cfg, path.stem)
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


def _check_weights(cfg, name):
    """The backbone, the optimizer and the preprocessing are those of the weights."""
    init_cfg = cfg.model.backbone.get('init_cfg')
    if init_cfg is None:
        assert name.endswith(('_shapes', '_graft'))
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
        backbone = {**weights.backbone, **weights.backbone.get('se_cfg', {})}
        depth, kind = backbone.get('depth'), weights.backbone['type']
        size = dict(
            SEResNet=f'ECA-R{depth}' if backbone['type'] == 'ECA' else f'SE-R{depth}',
            SEResNeXt=f'SE-X{depth}',
            SENet='SENet-154',
            SERegNet=f"`arch='{backbone.get('arch')}'`",
        )[kind]
        top1 = f'{weights.top1:.2f}' + (
            f' ({weights.top1_size})' if weights.top1_size > 224 else ''
        )
        assert size in row and row.endswith(f'| {top1} | {weights.recipe} |')
        for part, is_set in (
            ('deep_stem=True, avg_down=True', backbone.get('deep_stem')),
            ("style='caffe'", backbone.get('style') == 'caffe'),
            ("stem_pool='ceil'", backbone.get('stem_pool') == 'ceil' and kind != 'SENet'),
            ('relu_before_se', backbone.get('relu_before_se')),
        ):
            assert (part in row) == bool(is_set)


def test_the_graft_config_starts_as_the_plain_detector(tmp_path, monkeypatch):
    """A random detector replaces MMDetection's published one."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    cfg, plain = (
        load_config(f'configs/faster_rcnn_{name}.py').model for name in ('se_r50_graft', 'r50')
    )
    for model in (cfg, plain):
        model.backbone.base_channels = 8
        model.neck.in_channels = [32, 64, 128, 256]
        model.roi_head.bbox_head.fc_out_channels = 32
    cfg.backbone.se_cfg = dict(fused=False)
    plain = MODELS.build(plain)
    published = tmp_path / 'published.pth'
    torch.save(dict(meta=dict(CLASSES=('a',)), state_dict=plain.state_dict()), published)
    urlopen = torch.hub.urlopen
    monkeypatch.setattr(torch.hub, 'urlopen', lambda *_, **__: urlopen(published.as_uri()))
    grafted = MODELS.build(cfg)
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
