"""`report(config)`: from runs to one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness import files
from harness.plain_text import json_text
from harness.report.config import DEFAULT_ROWS, Format, ReportConfig
from harness.report.content import Content, gather

LARGEST_DATA = 2_200_000
"""Bytes that the viewer's data may take where nobody asks for a number of rows."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report, not yet written.

    Attributes:
        content: what it says.
        document: HTML, Markdown or JSON.
        rows: rows of the samples viewer, 0 but in HTML.
    """

    content: Content
    document: str
    rows: int

    @property
    def encoded(self) -> bytes:
        """The document as it is written."""
        return self.document.encode("utf-8")


def report(config: ReportConfig, form: Format = "html") -> Report:
    """Compare runs and write what comes out as one document.

    Args:
        config: which runs, and how.
        form: a self-contained HTML page, a short Markdown summary, or JSON for machines.

    Raises:
        HarnessError: a run can't be read, a name is unknown, or λ is asked for and not known.
        IncompleteError: a run is still being written.
    """
    content = gather(config)
    if form == "md":
        from harness.report.markdown import render_markdown

        return Report(content, render_markdown(content), 0)
    if form == "json":
        from harness.report.summary import as_dict

        return Report(content, f"{json_text(as_dict(content))}\n", 0)
    from harness.report.page import render

    if config.max_samples is None:
        document, rows = render(content, DEFAULT_ROWS, LARGEST_DATA)
    else:
        document, rows = render(content, config.max_samples)
    return Report(content, document, rows)


def write_document(path: Path, made: Report) -> None:
    """Write the document in one step.

    Raises:
        HarnessError: the file can't be written.
    """
    with files.output(path, "choose another -o"):
        files.write_bytes(path, made.encoded)
