"""When mmcv's extension is replaced, and by what."""

import importlib.util
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from types import ModuleType

import mmcv._ext
import pytest
import torch
from mmcv import ops
from mmengine.model import revert_sync_batchnorm

import se_det.mmcv_ops.extension
from se_det import mmcv_ops
from se_det.errors import UsageError


def test_a_missing_operator_raises_when_called():
    with pytest.raises(NotImplementedError, match=r'"border_align_forward".*se_det\[full\]'):
        ops.border_align(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 4), 10)


def test_mmcv_and_mmengine_find_the_extension():
    assert mmcv._ext is mmcv_ops
    assert mmcv_ops.install()
    assert importlib.util.find_spec('mmcv._ext') is mmcv_ops.__spec__
    assert not hasattr(mmcv._ext, '__wrapped__')  # inspect reads it from any module
    assert isinstance(revert_sync_batchnorm(torch.nn.SyncBatchNorm(4)), torch.nn.Module)


def run_python(code):
    """Run a program in which nothing is imported yet."""
    repository = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, '-c', code], cwd=repository, capture_output=True, text=True
    )


@pytest.fixture
def extension(tmp_path):
    """A folder with ``_ext.py``, which se_det's wheel installs beside mmcv's modules."""
    shutil.copy(se_det.mmcv_ops.extension.__file__, tmp_path / '_ext.py')
    return tmp_path


def test_mmdet_is_imported_before_se_det(extension):
    process = run_python(
        f'import sys, mmcv; mmcv.__path__.insert(0, {str(extension)!r})\n'
        'import mmdet.apis\n'
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


def test_compiled_operators_are_not_replaced(extension, monkeypatch):
    compiled = extension / f'_ext{EXTENSION_SUFFIXES[0]}'
    compiled.touch()
    monkeypatch.setattr(mmcv, '__path__', [str(extension), *mmcv.__path__])
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    assert not mmcv_ops.install() and mmcv_ops.is_compiled()
    assert importlib.util.find_spec('mmcv._ext').origin == str(compiled)


@pytest.mark.parametrize('spec', [None, ModuleSpec('mmcv', None)], ids=['missing', 'only _ext.py'])
def test_the_error_without_mmcv(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv', spec and ModuleType('mmcv'))
    if spec:
        monkeypatch.setattr(sys.modules['mmcv'], '__spec__', spec)
    with pytest.raises(UsageError, match=r'se_det needs mmcv.*se_det\[lite\]'):
        mmcv_ops.install()


@pytest.mark.long
def test_the_error_of_an_import_without_mmcv():
    process = run_python('import sys; sys.modules["mmcv"] = None; import se_det')
    assert 'UsageError: se_det needs mmcv' in process.stderr
