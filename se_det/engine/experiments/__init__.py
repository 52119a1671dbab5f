"""Experiments: detectors that differ in one thing, trained on the same seeds and compared."""

from se_det.engine.experiments.fresh_se import FreshSEHook
from se_det.engine.experiments.residual_start import ResidualStart
from se_det.engine.experiments.result_hook import RunResultHook

__all__ = ['FreshSEHook', 'ResidualStart', 'RunResultHook']
