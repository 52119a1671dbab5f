"""``report.html``: the results of a run, or of a comparison, on one page."""

from se_det.report.hook import ReportHook

__all__ = ['ReportHook']
