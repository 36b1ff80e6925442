"""The environment of all templates: every text that reaches a page is made visible, then escaped."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import jinja2
from markupsafe import Markup

from harness.report import plots, text
from harness.runs.text import level

TEMPLATES: Final = "templates"
_SIGNS = {"good": "✓", "bad": "✕", "against": "↓", "open": "?", "known": "•"}


def environment() -> jinja2.Environment:
    """Where the templates are, and what they may use."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report", TEMPLATES),
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
        "decimal": text.decimal,
        "percent": text.percent,
        "probability": text.probability,
        "threshold": text.threshold,
        "whole": text.whole,
        "level": level,
        "short": lambda value: f"{value:g}",
        "four": lambda value: f"{value:z.4f}".replace("-", "−"),
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
