"""COCO results: what a difference between detectors is worth, and what showing one takes."""

from se_det.evaluation.comparison import Comparison, Difference, compare_runs
from se_det.evaluation.sample_size import Plan, plan_experiment

__all__ = ['Comparison', 'Difference', 'Plan', 'compare_runs', 'plan_experiment']
