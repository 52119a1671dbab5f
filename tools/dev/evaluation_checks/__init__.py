"""Checks of `se_det.evaluation`, for `benchmark_evaluation.py`: speed, intervals, plans."""
