"""The data set that draws itself, and checks that a config's data exists and fits it."""

from se_det.datasets.shapes import ShapesDataset

__all__ = ['ShapesDataset']
