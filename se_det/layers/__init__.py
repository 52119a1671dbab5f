"""Layers on plain torch; nothing here knows mmdet."""

from se_det.layers.squeeze_excitation import SqueezeExcitation

__all__ = ['SqueezeExcitation']
