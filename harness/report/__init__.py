"""One file that a team decides from: two or more runs compared, self-contained, offline, inert."""

from harness.report.config import Format, ReportConfig
from harness.report.content import Content
from harness.report.job import Report, report, write_document

__all__ = ["Content", "Format", "Report", "ReportConfig", "report", "write_document"]
