"""COCO results: what a difference between detectors is worth, and what showing one takes."""

from se_det.evaluation.comparison import Comparison, Difference, compare_runs

__all__ = ['Comparison', 'Difference', 'compare_runs']
