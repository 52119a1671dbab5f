"""Check a data set before training: annotations, images, and whether the config fits them."""

from se_det.datasets.check.start import check_data

__all__ = ['check_data']
