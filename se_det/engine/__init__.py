"""What happens around mmengine's Runner: launching, data checks, reports, experiments."""

from se_det.engine.experiments import RunResultHook
from se_det.engine.report import ReportHook

__all__ = ['ReportHook', 'RunResultHook']
