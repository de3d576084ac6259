"""The report: one folder of static pages that anyone can open."""

from pipeline.report.build import build_report
from pipeline.report.options import ReportOptions

__all__ = ["ReportOptions", "build_report"]
