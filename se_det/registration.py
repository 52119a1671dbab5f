"""Registers everything that se_det has with mmdet and mmengine, when it is imported."""

from mmengine.config.utils import MODULE2PACKAGE

from se_det.mmcv_ops import install

install()  # the rest needs mmcv.ops

from se_det import (  # noqa: E402, F401
    backbones,
    checkpoints,
    datasets,
    engine,
    report,
    ssd_head,
)

# Packages that mmengine finds `NAME::configs/...` in. It takes the folder of a module, or that of
# an installed distribution, which for an editable install is the wrong one.
MODULE2PACKAGE['se_det'] = 'se_det.registry'
