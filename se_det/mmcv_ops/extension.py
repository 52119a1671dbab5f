"""The module ``mmcv._ext`` where mmcv is not compiled.

se_det's wheel has this file as ``mmcv/_ext.py``; Python prefers a compiled ``_ext`` to it.
``mmcv.ops`` looks all operators up while mmdet is being imported. That is too early to import
se_det, which imports mmdet, so an operator is imported when it is called.
"""

from collections.abc import Callable
from typing import Any

from mmengine.config.utils import MODULE2PACKAGE

MODULE2PACKAGE['se_det'] = 'se_det.registry'  # for `_base_ = 'se_det::configs/...'`


def __getattr__(name: str) -> Callable:
    """Return a function that calls the operator of this name."""
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def operator(*args: Any, **kwargs: Any) -> Any:
        from se_det import mmcv_ops

        return getattr(mmcv_ops, name)(*args, **kwargs)

    return operator
