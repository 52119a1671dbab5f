"""``report.html``: what a run, or a comparison of runs, came to, on one page."""

from se_det.analysis.report.hook import ReportHook

__all__ = ['ReportHook']
