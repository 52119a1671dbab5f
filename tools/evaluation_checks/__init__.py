"""Checks of `se_det.evaluation` for `tools/benchmark_evaluation.py`: speed, intervals, plans."""
