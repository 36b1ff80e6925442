"""Reads a report back with the standard library's parser, which knows nothing of how it was written."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "link", "br", "hr", "input", "img", "area", "base", "col", "embed", "source", "track", "wbr"}


@dataclass
class Number:
    """A number of the page: its attributes and what is shown."""

    source: str
    run: str
    metric: str
    field: str
    value: Any
    text: str = ""


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]


@dataclass
class Page(HTMLParser):
    """All elements, all text and all numbers of a document."""

    elements: list[Element] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)
    text: str = ""
    title: str = ""
    data: str = ""
    scripts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []
        self._number: tuple[int, Number] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)
        got = element.attributes
        if "data-metric" in got:
            value = json.loads(got["data-value"] or "null")
            number = Number(
                str(got["data-source"]),
                str(got["data-run"]),
                str(got["data-metric"]),
                str(got["data-field"]),
                value,
            )
            self.numbers.append(number)
            self._number = (len(self._open), number)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self._number is not None and len(self._open) == self._number[0]:
            self._number = None
        assert self._open, f"</{tag}> closes nothing"
        last = self._open.pop()
        assert last.tag == tag, f"<{last.tag}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else Element("", {})
        if inside.tag == "script":
            if inside.attributes.get("type") == "application/octet-stream":
                self.data += data
            else:
                self.scripts.append(data)
        elif inside.tag == "style":
            self.styles.append(data)
        elif inside.tag == "title" and not any(one.tag == "svg" for one in self._open):
            self.title += data
        else:
            self.text += data
        if self._number is not None:
            self._number[1].text += data

    @property
    def rows(self) -> dict[str, Any]:
        """The data block of the viewer."""
        found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(self.data)))
        return found

    def of(self, source: str) -> list[Number]:
        return [number for number in self.numbers if number.source == source]


def read_page(document: str | Path) -> Page:
    page = Page()
    page.feed(document.read_text(encoding="utf-8") if isinstance(document, Path) else document)
    page.close()
    assert not page._open, f"never closed: {[element.tag for element in page._open]}"
    return page
