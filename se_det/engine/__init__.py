"""What happens around mmengine's Runner: launching, experiments, progress."""

from se_det.engine.experiments.fresh_se import FreshSEHook, ResidualStart
from se_det.engine.experiments.result_hook import RunResultHook

__all__ = ['FreshSEHook', 'ResidualStart', 'RunResultHook']
