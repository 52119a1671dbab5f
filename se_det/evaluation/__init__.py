"""COCO results: what a difference between detectors is worth, and what showing one takes."""

from se_det.evaluation.comparison import Comparison, Difference, compare_runs
from se_det.evaluation.sample_size import SampleSize, find_sample_size

__all__ = ['Comparison', 'Difference', 'SampleSize', 'compare_runs', 'find_sample_size']
