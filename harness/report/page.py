"""The HTML file: one page that fetches nothing and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from markupsafe import Markup

from harness import __version__
from harness.report.content import Content
from harness.report.payload import encode_rows
from harness.report.rows import choose_rows, read_rows
from harness.report.templating import TEMPLATES, environment
from harness.report.view import view

_LEAST_ROWS = 50


def render(content: Content, rows: int, budget: int | None = None) -> tuple[str, int]:
    """The page, and the number of rows in its viewer.

    Args:
        content: what it says.
        rows: most rows of the viewer.
        budget: most bytes of the viewer's data; there are fewer rows where they would take more.

    Raises:
        DataError: a file of a run can't be read.
    """
    shown = read_rows(content.runs, rows, redact=content.config.redact == "titles")
    data = encode_rows(shown, content.runs, content.baseline_place)
    while budget is not None and len(data) > budget and len(shown.rows) > _LEAST_ROWS:
        fewer = max(_LEAST_ROWS, int(0.95 * len(shown.rows) * budget / len(data)))
        shown = shown.of(choose_rows(content.runs, fewer)[0])
        data = encode_rows(shown, content.runs, content.baseline_place)
    style, script = _source("report.css"), _source("viewer.js")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            title=content.title,
            version=__version__,
            # The project's own text, not a run's; the policy's hashes are of exactly what stands in the tags.
            style=Markup(style),
            script=Markup(script),
            policy=Markup(policy),
            page=view(content, shown, data),
        )
    )
    return page, len(shown.rows)


def _source(name: str) -> str:
    return resources.files("harness.report").joinpath(TEMPLATES, name).read_text(encoding="utf-8")


def _digest(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode("ascii")
