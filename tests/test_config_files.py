import pytest

from se_det.config_files import find_config, locate_teacher, package_configs, read_config
from se_det.errors import UsageError

RETINANET = 'retinanet/retinanet_r50_fpn_1x_coco.py'


def test_where_configs_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config('configs/faster_rcnn_r50.py').is_file()
    assert find_config(f'mmdet::{RETINANET}') == package_configs('mmdet') / RETINANET
    assert find_config(f'mmdet::{RETINANET.removesuffix(".py")}').name == RETINANET.split('/')[1]
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs/faster_rcnn_r50.py').touch()
    assert find_config('configs/faster_rcnn_r50.py').samefile(
        tmp_path / 'configs/faster_rcnn_r50.py'
    )


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
