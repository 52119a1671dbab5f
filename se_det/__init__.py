"""SE-ResNet and SE-ResNeXt backbones for MMDetection (arXiv 1709.01507).

``import se_det`` registers everything with mmdet; in a config,
``custom_imports = dict(imports=['se_det'])`` does the same.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ['TOOLS', 'Detections', 'Detector', 'OnnxDetector', 'swap_backbone']
__version__ = '0.1.0'

TOOLS = Path(__file__).with_name('tools')

_HOMES = {
    'Detections': 'se_det.inference.detections',
    'Detector': 'se_det.inference.detector',
    'OnnxDetector': 'se_det.inference.onnx_detector',
    'swap_backbone': 'se_det.swap',
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is used first."""
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_HOMES[name]), name)


def _in_a_tool() -> bool:
    """Whether this is `python -m se_det` or a script of the tools."""
    program = getattr(sys.modules['__main__'], '__file__', None) or '.'
    return sys.argv[:1] == ['-m'] or Path(program).resolve().parent == TOOLS.resolve()


# Not where mmdet is missing, which an exported detector does not need, and not in the tools. They
# parse their arguments before they import se_det.registration: `--help` does not wait for torch.
if find_spec('mmdet') and not _in_a_tool():
    from se_det import registration  # noqa: F401
