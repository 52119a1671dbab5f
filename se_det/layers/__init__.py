"""Layers on plain torch; nothing here knows mmdet."""

from se_det.layers.squeeze_excitation import DEFAULT_REDUCTION, SqueezeExcitation

__all__ = ['DEFAULT_REDUCTION', 'SqueezeExcitation']
