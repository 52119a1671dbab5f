"""Layers in torch, without mmdet."""

from se_det.layers.attentions import ATTENTIONS
from se_det.layers.channel_attention import ChannelAttention
from se_det.layers.folded_convolution import folded_convolution
from se_det.layers.gated_norm import gated_norm
from se_det.layers.gated_projection import gated_projection
from se_det.layers.padding import sizes_at, without_padding
from se_det.layers.squeeze_excitation import DEFAULT_REDUCTION, GATES, SqueezeExcitation

__all__ = [
    'ATTENTIONS',
    'DEFAULT_REDUCTION',
    'GATES',
    'ChannelAttention',
    'SqueezeExcitation',
    'folded_convolution',
    'gated_norm',
    'gated_projection',
    'sizes_at',
    'without_padding',
]
