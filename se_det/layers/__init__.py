"""Layers in torch, without mmdet."""

from se_det.layers.attentions import ATTENTIONS
from se_det.layers.padding import Padding, is_eager, padding_of, within_batch
from se_det.layers.squeeze_excitation import (
    DEFAULT_REDUCTION,
    GATES,
    ChannelAttention,
    SqueezeExcitation,
)
from se_det.layers.tail import gated_tail

__all__ = [
    'ATTENTIONS',
    'DEFAULT_REDUCTION',
    'GATES',
    'ChannelAttention',
    'Padding',
    'SqueezeExcitation',
    'gated_tail',
    'is_eager',
    'padding_of',
    'within_batch',
]
