"""What happens around mmengine's Runner: launching, experiments, progress."""

from se_det.engine.experiments import FreshSEHook, ResidualStart, RunResultHook

__all__ = ['FreshSEHook', 'ResidualStart', 'RunResultHook']
