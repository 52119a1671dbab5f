"""Lets SSD predict, which it cannot in MMDetection 3.3 (mmdetection#11780).

MMDetection asks every head for its ``loss_cls`` before it predicts; that of SSD has none.
"""

from functools import wraps
from typing import Any

from mmdet.models.dense_heads import SSDHead

_init = SSDHead.__init__


@wraps(_init)
def _init_with_loss_cls(head: SSDHead, *args: Any, **kwargs: Any) -> None:
    _init(head, *args, **kwargs)
    head.loss_cls = None


SSDHead.__init__ = _init_with_loss_cls
