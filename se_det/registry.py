"""The scope ``se_det``, which mmengine gives to configs that inherit from ``se_det::configs/...``.

It has all that MMDetection's scope has: se_det registers there.
"""

from mmdet import registry as mmdet_registry
from mmengine.registry import Registry

for _registry in list(vars(mmdet_registry).values()):
    if isinstance(_registry, Registry) and _registry.scope == 'mmdet':
        Registry(_registry.name, parent=_registry, scope='se_det', locations=['se_det'])
