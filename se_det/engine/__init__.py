"""What happens around mmengine's Runner: launching, reports, experiments."""

from se_det.engine.experiments import FreshSEHook, ResidualStart, RunResultHook
from se_det.engine.report import ReportHook

__all__ = ['FreshSEHook', 'ReportHook', 'ResidualStart', 'RunResultHook']
