"""When mmcv's extension is replaced, and by what."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import mmcv._ext
import pytest
import torch
from mmcv import ops
from mmengine.model import revert_sync_batchnorm

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


def test_compiled_operators_are_not_replaced(tmp_path):
    (tmp_path / '_ext.py').write_text('def __getattr__(name): return f"compiled {name}"')
    process = run_python(
        'import sys, mmcv; mmcv.__path__.append(sys.argv[1])\n'
        'from se_det.mmcv_ops import install\n'
        'print(install(), sys.modules["mmcv._ext"].nms)',
        tmp_path,
    )
    assert 'False compiled nms\n' in process.stdout, process.stderr


def test_the_error_of_an_import_without_mmcv():
    process = run_python('import sys; sys.modules["mmcv"] = None; import se_det')
    assert process.returncode != 0
    assert 'UsageError: se_det needs mmcv' in process.stderr
    assert 'se_det[lite]' in process.stderr
