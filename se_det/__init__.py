"""SE-ResNet and SE-ResNeXt backbones for MMDetection (arXiv 1709.01507).

``import se_det`` registers everything with mmdet; in a config,
``custom_imports = dict(imports=['se_det'])`` does the same.
"""

from se_det.mmcv_ops import install

install()

from se_det import backbones, checkpoints, datasets, engine  # noqa: E402, F401  (needs mmcv.ops)
from se_det.analysis import report  # noqa: E402, F401  (registers its hook)
from se_det.swap import swap_backbone  # noqa: E402

__all__ = ['swap_backbone']
__version__ = '0.1.0'
