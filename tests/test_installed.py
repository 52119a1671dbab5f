"""The wheel: what is in it, and se_det installed from it, without a checkout."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import mmcv
import pytest

CHECKOUT = Path(__file__).parents[1]

if importlib.util.find_spec('hatchling') is None:
    pytest.skip('not run: the wheel, which hatchling builds', allow_module_level=True)


def run(*command, cwd, **environment):
    """Run a command outside of the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    command = [str(part) for part in command]
    finished = subprocess.run(
        command, cwd=cwd, env={**kept, **environment}, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def build(source, target, folder):
    """Build a wheel or an sdist; the file."""
    run(sys.executable, '-m', 'hatchling', 'build', '-t', target, '-d', folder, cwd=source)
    return next(folder.iterdir())


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    return build(CHECKOUT, 'wheel', tmp_path_factory.mktemp('wheel'))


def contents(wheel):
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_configs_tools_and_the_extension_are_in_the_wheel(wheel):
    files = contents(wheel)
    extension = CHECKOUT / 'se_det/mmcv_ops/extension.py'
    assert files['mmcv/_ext.py'] == extension.read_bytes()
    for folder, installed in (('configs', '.mim/configs/configs'), ('tools', 'tools')):
        for file in (CHECKOUT / folder).rglob('*.py'):
            name = file.relative_to(CHECKOUT / folder)
            if name.parts[0] == 'dev':  # maintainers' tools
                assert f'se_det/{installed}/{name}' not in files
            else:
                assert files[f'se_det/{installed}/{name}'] == file.read_bytes()
    assert not any(name.endswith('.tar.xz') for name in files)
    top = {name.partition('/')[0] for name in files}
    name = '-'.join(wheel.name.split('-')[:2])
    assert top == {'se_det', 'mmcv', f'{name}.dist-info', f'{name}.data'}
    assert f'{name}.data/scripts/se_det' in files  # the command


def test_the_sdist_builds_the_same_wheel(wheel, tmp_path):
    with tarfile.open(build(CHECKOUT, 'sdist', tmp_path / 'sdist')) as archive:
        assert len(set(archive.getnames())) == len(archive.getnames())
        archive.extractall(tmp_path, filter='data')
    unpacked = tmp_path / wheel.name.partition('-py3')[0]
    assert (unpacked / 'configs').is_dir() and (unpacked / 'tools').is_dir()
    assert contents(build(unpacked, 'wheel', tmp_path / 'wheel')) == contents(wheel)


INFER = """
import sys
import numpy as np
from mmdet.apis import DetInferencer, inference_detector, init_detector
assert 'se_det' not in sys.modules
image = np.zeros((64, 64, 3), np.uint8)
detector = init_detector('used.py', 'epoch.pth', device='cpu')
print(type(detector.backbone).__name__, inference_detector(detector, image).pred_instances.keys())
print(DetInferencer('used.py', 'epoch.pth', device='cpu')(image, no_save_vis=True).keys())
"""


@pytest.mark.long
def test_an_installed_wheel(wheel, tmp_path, quick):
    """Beside an mmcv without extension: our tools, then MMDetection's interface on its own."""
    venv.create(tmp_path / 'venv')
    python = tmp_path / 'venv/bin/python'
    site = Path(run(python, '-c', 'import site; print(site.getsitepackages()[0])', cwd='/').strip())
    original = Path(mmcv.__file__).parent
    (site / 'shared.pth').write_text(str(original.parent))  # where mmdet and torch are
    shutil.copytree(original, site / 'mmcv', ignore=shutil.ignore_patterns('_ext*'))
    before = {path for path in site.rglob('*') if '__pycache__' not in path.parts}
    pip = (sys.executable, '-m', 'pip', '--python', python)
    run(*pip, 'install', '--no-index', '--no-deps', '--ignore-installed', wheel, cwd='/')
    assert (site / 'mmcv/_ext.py').is_file()

    folder = tmp_path / 'elsewhere'
    folder.mkdir()
    (folder / 'child.py').write_text("_base_ = 'se_det::configs/faster_rcnn_se_r50_shapes.py'")
    options = [
        *quick,
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=2',
        *(f'{loader}_dataloader.dataset.num_images=2' for loader in ('train', 'val', 'test')),
    ]
    tool = (tmp_path / 'venv/bin/se_det',)
    run(*tool, 'train', 'child.py', '--cfg-options', *options, cwd=folder)
    assert (folder / 'data/shapes').is_dir()
    (folder / 'work_dirs/child/epoch_1.pth').rename(folder / 'epoch.pth')
    (folder / 'work_dirs/child/child.py').rename(folder / 'used.py')
    run(*tool, 'test', 'used.py', 'epoch.pth', cwd=folder)
    plain = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
    run(python, '-m', 'se_det', 'swap_backbone', plain, '--out', 'twin.py', cwd=folder)
    inferred = run(python, '-c', INFER, cwd=folder)
    assert 'SEResNet' in inferred and 'predictions' in inferred

    run(*pip, 'uninstall', '--yes', 'se_det', cwd='/')
    assert {path for path in site.rglob('*') if '__pycache__' not in path.parts} == before
