"""The example that the repository shows: whole, inert, and readable by today's script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

from tests.report.chromium import Page as Tab
from tests.report.page_reader import read_page

EXAMPLE = Path(__file__).parents[2] / "reports" / "example.html"


def test_example_is_whole() -> None:
    page = read_page(EXAMPLE)
    assert page.rows["runs"] == ["listopd", "sft-base", "sft-large"]
    assert len(page.rows["rows"]) == 512
    policy = next(str(one.attributes["content"]) for one in page.elements if "http-equiv" in one.attributes)
    for source in (*page.scripts, *page.styles):
        assert base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() in policy
    assert {one.run for one in page.of("gate")} == {"listopd", "sft-large", "sft-base"}


def test_example_tells_nothing_of_the_machine_it_was_made_on() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    page = read_page(EXAMPLE)
    for words in (text, json.dumps(page.rows)):
        assert not re.search(r"(?<![\w.…])/(?:home|work|root|tmp|usr|opt|var|mnt|Users|github)/", words)
    assert "weren't committed" not in text
    assert "commit unknown" not in text


def test_example_opens(tab: Tab) -> None:
    tab.open(EXAMPLE)
    tab.ready()
    assert tab.problems == []
    assert tab.requests == [EXAMPLE.resolve().as_uri()]
