from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from se_det.config_files import (
    dicts_in,
    find_config,
    locate_teacher,
    package_configs,
    read_config,
)
from se_det.errors import UsageError

CONFIGS = Path(__file__).parents[1] / 'configs'
RETINANET = 'retinanet/retinanet_r50_fpn_1x_coco.py'


def test_where_configs_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('', 'configs/', 'se_det::configs/'):
        assert find_config(f'{name}faster_rcnn_r50.py').samefile(CONFIGS / 'faster_rcnn_r50.py')
    assert find_config(f'mmdet::{RETINANET}') == package_configs('mmdet') / RETINANET
    assert find_config(f'mmdet::{RETINANET.removesuffix(".py")}').name == RETINANET.split('/')[1]
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs/faster_rcnn_r50.py').touch()
    assert find_config('configs/faster_rcnn_r50.py').samefile(
        tmp_path / 'configs/faster_rcnn_r50.py'
    )


def test_a_config_of_ours_as_base(tmp_path, log):
    child = tmp_path / 'child.py'
    child.write_text(
        "_base_ = 'se_det::configs/retinanet_se_r50.py'\n"
        'model = dict(backbone=dict(init_cfg=None, base_channels=8), '
        'neck=dict(in_channels=[32, 64, 128, 256]))'
    )
    cfg = Config.fromfile(child)
    assert read_config(child).model == cfg.model
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    assert type(model.backbone).__name__ == 'SEResNet'
    assert not [line for line in log if 'Failed' in line or 'not installed' in line]


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ('configs/faster_rcnn_r05.py', r'Did you mean faster_rcnn_r50\.py'),
        (f'mmdet::{RETINANET.replace("1x", "2")}', rf'Did you mean .*mmdet::{RETINANET}'),
        ('mmdet::retinanet', r'No config file mmdet::retinanet\.'),
        ('mmdat::retinanet/x.py', r"No package 'mmdat' with configs.*mmdet::folder/name\.py"),
        ('torch::x.py', 'No package .* with configs'),
        ('C::/x.py', 'No package .* with configs'),
        ('README.md', 'cannot be read as a config'),
    ],
)
def test_configs_that_are_not_found(config, message):
    with pytest.raises(UsageError, match=message):
        read_config(config)


def test_where_a_teachers_config_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gfl = 'configs/gfl/gfl_r101_fpn_ms-2x_coco.py'
    installed = str(package_configs('mmdet') / gfl.removeprefix('configs/'))
    for name, path in (
        (gfl, installed),
        (gfl.replace('configs/', 'mmdet::'), installed),
        ('configs/retinanet_se_r50.py', str(find_config('configs/retinanet_se_r50.py'))),
    ):
        model = dict(teacher_config=name)
        locate_teacher(model)
        assert model == dict(teacher_config=path)
    (tmp_path / 'configs/gfl').mkdir(parents=True)
    (tmp_path / gfl).touch()
    for model in (dict(teacher_config=gfl), dict(teacher_config=dict(model={})), {}):
        located = dict(model)
        locate_teacher(located)
        assert located == model
    with pytest.raises(UsageError, match=r'No config file configs/gfl/mine\.py'):
        locate_teacher(dict(teacher_config='configs/gfl/mine.py'))


def test_every_dict_of_a_config_has_its_place():
    cfg = Config(dict(model=dict(heads=[dict(type='A'), ({'b.c': dict()},)]), lr=1))
    places = [path for path, _ in dicts_in(cfg)]
    assert places == ['', 'model', 'model.heads.0', 'model.heads.1.0', 'model.heads.1.0.b.c']
    assert next(part for path, part in dicts_in(cfg.model) if path == 'heads.0') == dict(type='A')
    assert list(dicts_in(None)) == []
