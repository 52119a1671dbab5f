"""SE-ResNet and SE-ResNeXt backbones for MMDetection (arXiv 1709.01507).

``import se_det`` registers everything with mmdet; in a config,
``custom_imports = dict(imports=['se_det'])`` does the same.
"""

import importlib
from importlib.util import find_spec
from typing import Any

__all__ = ['Detections', 'Detector', 'OnnxDetector', 'swap_backbone']
__version__ = '0.1.0'

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


if find_spec('mmdet'):  # which an exported detector does not need
    from se_det import registry  # noqa: F401
