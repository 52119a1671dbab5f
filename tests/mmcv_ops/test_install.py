"""When mmcv's extension is replaced, and by what."""

import importlib.util
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import mmcv._ext
import pytest
import torch
from mmcv import ops
from mmengine.model import revert_sync_batchnorm

import se_det.mmcv_ops.extension
from se_det import mmcv_ops


def test_a_missing_operator_raises_when_called():
    with pytest.raises(NotImplementedError, match=r'"border_align_forward".*se_det\[full\]'):
        ops.border_align(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 4), 10)


def test_mmcv_and_mmengine_find_the_extension():
    assert mmcv._ext is mmcv_ops
    assert mmcv_ops.install()
    assert importlib.util.find_spec('mmcv._ext') is mmcv_ops.__spec__
    assert not hasattr(mmcv._ext, '__wrapped__')  # inspect reads it from any module
    assert isinstance(revert_sync_batchnorm(torch.nn.SyncBatchNorm(4)), torch.nn.Module)


def run_python(code, *arguments):
    command = [sys.executable, '-c', code, *arguments]
    repository = Path(__file__).parents[2]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True)


def add_to_mmcv(folder):
    """Code that adds a folder to those in which ``mmcv._ext`` is looked for."""
    return f'import sys, mmcv; mmcv.__path__.insert(0, {str(folder)!r})\n'


@pytest.fixture
def extension(tmp_path):
    """A folder with ``_ext.py``, which se_det's wheel installs beside mmcv's modules."""
    shutil.copy(se_det.mmcv_ops.extension.__file__, tmp_path / '_ext.py')
    return tmp_path


def test_mmdet_is_imported_before_se_det(extension):
    process = run_python(
        add_to_mmcv(extension) + 'import mmdet.apis\n'
        'import mmcv.ops, numpy as np, importlib.util as util\n'
        'print(sys.modules["mmcv._ext"].__spec__.origin, "se_det" in sys.modules)\n'
        'boxes = np.float32([[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]])\n'
        'print(mmcv.ops.nms(boxes, np.float32([0.5, 0.9, 0.7]), 0.5)[1])\n'
        'from se_det import mmcv_ops\n'
        'print(mmcv_ops.is_compiled(), sys.modules["mmcv._ext"] is mmcv._ext is mmcv_ops)\n'
        'mmcv.ops.border_align(*map(__import__("torch").zeros, ((1, 4, 2, 2), (1, 4, 4))), 10)\n'
    )
    origin, found, compiled = process.stdout.splitlines()[-3:]
    assert origin.endswith('_ext.py False'), process.stderr
    assert found == '[1 2]'
    assert compiled == 'False True'
    assert 'NotImplementedError: the mmcv operator "border_align_forward"' in process.stderr


def test_compiled_operators_are_not_replaced(extension):
    compiled = extension / f'_ext{EXTENSION_SUFFIXES[0]}'
    compiled.touch()
    process = run_python(
        add_to_mmcv(extension) + 'sys.modules["mmdet"] = None  # so that se_det does not register\n'
        'from se_det.mmcv_ops import install\n'
        'from importlib.util import find_spec\n'
        'print(install(), find_spec("mmcv._ext").origin)\n'
    )
    assert f'False {compiled}\n' in process.stdout, process.stderr


@pytest.mark.parametrize(
    'missing',
    [
        'None',
        # A folder with nothing but _ext.py
        pytest.param(
            'type(sys)("mmcv"); sys.modules["mmcv"].__spec__ = ModuleSpec("mmcv", None)',
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_error_of_an_import_without_mmcv(missing):
    process = run_python(
        'import sys; from importlib.machinery import ModuleSpec\n'
        f'sys.modules["mmcv"] = {missing}; import se_det'
    )
    assert process.returncode != 0
    assert 'UsageError: se_det needs mmcv' in process.stderr
    assert 'se_det[lite]' in process.stderr
