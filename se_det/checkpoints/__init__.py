"""Checkpoint files: how they are read, their key layouts, and the public ones with SE weights."""

from se_det.checkpoints.loading import SEPretrained
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.zoo import ZOO

__all__ = ['ZOO', 'SEPretrained', 'read_checkpoint']
