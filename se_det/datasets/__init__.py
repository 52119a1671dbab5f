"""Data sets, and the checks that a config's data is there and fits it."""

from se_det.datasets.shapes import ShapesDataset

__all__ = ['ShapesDataset']
