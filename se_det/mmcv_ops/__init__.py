"""mmcv's compiled operators, on torch and torchvision kernels.

mmdet imports ``mmcv.ops``, and ``mmcv.ops`` imports the compiled module ``mmcv._ext``, which
``mmcv-lite`` does not contain. `install` registers this module under that name, so that mmdet runs
without a compiler; where mmdet is imported before se_det, `se_det.mmcv_ops.extension` does. Each
operator has the name, the arguments and the calling convention (results written into tensors that
the caller allocated) of mmcv 2.1, for CPU and CUDA tensors. Operators that are missing here raise
an error when they are called. If mmcv's own compiled module is installed, it is used.
"""

# ruff: noqa: F401  (the operators, which mmcv looks up here)

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES

from se_det.errors import UsageError
from se_det.mmcv_ops.boxes import nms, nms_match, softnms
from se_det.mmcv_ops.carafe import carafe_backward, carafe_forward
from se_det.mmcv_ops.deform_attention import ms_deform_attn_backward, ms_deform_attn_forward
from se_det.mmcv_ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from se_det.mmcv_ops.deform_roi_pool import deform_roi_pool_backward, deform_roi_pool_forward
from se_det.mmcv_ops.focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from se_det.mmcv_ops.masked_conv import masked_col2im_forward, masked_im2col_forward
from se_det.mmcv_ops.roi_align import roi_align_backward, roi_align_forward
from se_det.mmcv_ops.sync_bn import (
    sync_bn_backward_data,
    sync_bn_backward_param,
    sync_bn_forward_mean,
    sync_bn_forward_output,
    sync_bn_forward_var,
)

MMCV_EXTENSION = 'mmcv._ext'


def install() -> bool:
    """Make ``import mmcv.ops`` work where mmcv has no compiled extension.

    Returns:
        True if this module now replaces the extension, False if mmcv has its own.

    Raises:
        UsageError: neither ``mmcv`` nor ``mmcv-lite`` is installed.
    """
    mmcv = importlib.util.find_spec('mmcv')
    if mmcv is None or mmcv.origin is None:  # a folder with nothing but se_det's _ext.py
        raise UsageError(
            'se_det needs mmcv, which is not installed. Without a compiler: pip install '
            '"se_det[lite]"; with mmcv\'s own compiled operators: pip install "se_det[full]".'
        )
    this_module = sys.modules[__name__]
    if sys.modules.get(MMCV_EXTENSION) is not this_module:
        found = importlib.util.find_spec(MMCV_EXTENSION)
        if found and found.origin.endswith(tuple(EXTENSION_SUFFIXES)):
            return False
        sys.modules[MMCV_EXTENSION] = this_module
        sys.modules['mmcv']._ext = this_module  # importing a submodule sets this attribute
    return True


def is_compiled() -> bool:
    """Whether mmcv's own compiled extension is in use, instead of this module."""
    return sys.modules.get(MMCV_EXTENSION) is not sys.modules[__name__]


def __getattr__(name: str) -> Callable:
    """Return a function that raises for an operator that this module does not have."""
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args, **kwargs) -> None:
        raise NotImplementedError(
            f'the mmcv operator "{name}" needs mmcv\'s compiled extension, which mmcv-lite does '
            'not contain and se_det does not replace. Install the full mmcv: pip uninstall '
            'mmcv-lite, then pip install "se_det[full]".'
        )

    return missing
