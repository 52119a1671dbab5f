import pytest

from se_det.config_files import find_config, package_configs, read_config
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
        ('mmdat::retinanet/x.py', r"No configs of a package 'mmdat'.*mmdet::folder/name\.py"),
        ('torch::x.py', 'No configs of a package'),
        ('C::/x.py', 'No configs of a package'),
        ('README.md', 'cannot be read as a config'),
    ],
)
def test_where_they_are_not(config, message):
    with pytest.raises(UsageError, match=message):
        read_config(config)
