"""Checks of `se_det.evaluation`, for `benchmark_evaluation.py`: intervals, plans."""
