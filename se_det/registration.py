"""Registers everything that se_det has with mmdet and mmengine, when it is imported."""

from se_det.mmcv_ops import install

install()

from se_det import backbones, checkpoints, datasets, engine  # noqa: E402, F401  (needs mmcv.ops)
from se_det.analysis import report  # noqa: E402, F401  (registers its hook)
