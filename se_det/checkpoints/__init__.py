"""Files of weights: the public ones, downloading, reading, key layouts, loading, grafting."""

from se_det.checkpoints.conversion import convert_weights, inspect_weights
from se_det.checkpoints.loading import SEPretrained
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.zoo import ZOO

__all__ = ['ZOO', 'SEPretrained', 'convert_weights', 'inspect_weights', 'read_checkpoint']
