"""Layers in torch, without mmdet."""

from se_det.layers.folded_convolution import folded_convolution
from se_det.layers.gated_norm import gated_norm
from se_det.layers.gated_projection import gated_projection
from se_det.layers.padding import image_sizes
from se_det.layers.squeeze_excitation import DEFAULT_REDUCTION, SqueezeExcitation

__all__ = [
    'DEFAULT_REDUCTION',
    'SqueezeExcitation',
    'folded_convolution',
    'gated_norm',
    'gated_projection',
    'image_sizes',
]
