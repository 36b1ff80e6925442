"""The HTML file: one page that fetches nothing and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from harness import __version__
from harness.report import plots, text
from harness.report.content import Content
from harness.report.payload import encode_rows
from harness.report.rows import choose_rows, read_rows
from harness.report.view import view
from harness.runs.text import level

_SIGNS = {"good": "✓", "bad": "✕", "against": "↓", "open": "?", "known": "•"}
_TEMPLATES = "templates"
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


def environment() -> jinja2.Environment:
    """Where the templates are, and what they may use."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report", _TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "exact": _exact,
        "place": _place,
        "capitalised": _capitalised,
        "ticked": _ticked,
    }
    found.filters |= filters
    found.globals |= {
        "signs": _SIGNS,
        "unit": plots.UNIT,
        "percent": text.percent,
        "probability": text.probability,
        "threshold": text.threshold,
        "whole": text.whole,
        "level": level,
        "short": lambda value: f"{value:g}",
        "four": lambda value: f"{value:.4f}".replace("-", "−"),
        "one_decimal": lambda value: f"{value:.1f}",
    }
    return found


def _finalize(value: Any) -> Any:
    """Every text that reaches the page is made visible first; escaping comes after."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return text.visible(value)
    return value


def _exact(value: Any) -> str:
    return json.dumps(value)


def _place(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:].rstrip(".")


def _ticked(words: str) -> Markup:
    """Text in which what stands between backticks is code, and everything is escaped."""
    parts = text.visible(words).split("`")
    if len(parts) % 2 == 0:
        return Markup.escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else Markup.escape(part)
        for place, part in enumerate(parts)
    )


def _source(name: str) -> str:
    return resources.files("harness.report").joinpath(_TEMPLATES, name).read_text(encoding="utf-8")


def _digest(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode("ascii")
