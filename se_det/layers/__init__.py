"""Layers on plain torch; nothing here knows mmdet."""

from se_det.layers.folded_convolution import can_fold, folded_convolution, has_hooks
from se_det.layers.gated_residual import gated_projection, gated_residual
from se_det.layers.squeeze_excitation import DEFAULT_REDUCTION, SqueezeExcitation

__all__ = [
    'DEFAULT_REDUCTION',
    'SqueezeExcitation',
    'can_fold',
    'folded_convolution',
    'gated_projection',
    'gated_residual',
    'has_hooks',
]
