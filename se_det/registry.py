"""Registers everything that se_det has with mmdet and mmengine, when it is imported.

It is also what mmengine imports of the scope ``se_det``, which it gives to configs that inherit
from ``se_det::configs/...``.
"""

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry

from se_det.mmcv_ops import install

install()  # the rest needs mmcv.ops

from mmdet import registry as mmdet_registry  # noqa: E402

from se_det import backbones, checkpoints, datasets, engine, report, ssd_head  # noqa: E402, F401

# Packages that mmengine finds `NAME::configs/...` in. It takes the folder of a module, or that of
# an installed distribution, which for an editable install is the wrong one.
MODULE2PACKAGE['se_det'] = 'se_det.registry'

# The scope has all that MMDetection's has: se_det registers there.
for _registry in list(vars(mmdet_registry).values()):
    if isinstance(_registry, Registry) and _registry.scope == 'mmdet':
        Registry(_registry.name, parent=_registry, scope='se_det', locations=['se_det'])
