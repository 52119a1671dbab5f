"""Registers everything that se_det has with mmdet and mmengine, when it is imported."""

from functools import wraps
from typing import Any

from mmengine.config.utils import MODULE2PACKAGE

from se_det.mmcv_ops import install

install()

from mmdet.models.dense_heads import SSDHead  # noqa: E402  (needs mmcv.ops)

from se_det import backbones, checkpoints, datasets, engine  # noqa: E402, F401  (needs mmcv.ops)
from se_det.analysis import report  # noqa: E402, F401  (registers its hook)

# Packages that mmengine finds `NAME::configs/...` in. It takes the folder of a module, or that of
# an installed distribution, which for an editable install is the wrong one.
MODULE2PACKAGE['se_det'] = 'se_det.registry'

_init_ssd_head = SSDHead.__init__


@wraps(_init_ssd_head)
def _with_loss_cls(head: SSDHead, *args: Any, **kwargs: Any) -> None:
    # MMDetection 3.3 asks every head for its loss_cls before it predicts; SSD's has none
    # (mmdetection#11780).
    _init_ssd_head(head, *args, **kwargs)
    head.loss_cls = None


SSDHead.__init__ = _with_loss_cls
