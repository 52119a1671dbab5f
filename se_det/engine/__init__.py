"""What happens around mmengine's Runner: launching, data checks, a report of the run."""

from se_det.engine.report import ReportHook

__all__ = ['ReportHook']
