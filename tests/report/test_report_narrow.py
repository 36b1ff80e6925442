"""Nothing is cut off, on a phone, a laptop or a large screen, in a real Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.report import ReportConfig, report, write_document
from tests.report.chromium import Page
from tests.report.report_runs import answers, gated, judged, make_run, tasks, with_cliff

WIDTHS = (390, 1024, 1600)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every part of a page."""
    folder = tmp_path_factory.mktemp("full")
    rows = tasks(60)
    base = judged(gated(with_cliff(make_run(folder / "sft", rows, answers(0.5), seed=1), 1.0)))
    run = judged(gated(with_cliff(make_run(folder / "student", rows, answers(0.9), seed=2), 1.2), base))
    far = with_cliff(make_run(folder / "far", rows, answers(0.2), seed=3), 1.6)
    path = folder / "report.html"
    write_document(path, report(ReportConfig(runs=(run.path, far.path, base.path))))
    return path


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names, counts and intervals as long as they get."""
    folder = tmp_path_factory.mktemp("long")
    rows = tasks(1200, k=3)
    base = make_run(folder / "a-7b-instruct-baseline-checkpoint-12000", rows, answers(0.999), seed=1)
    run = make_run(folder / "listopd-student-of-a-7b-lambda-1.25", rows, answers(0.97), seed=2)
    other = make_run(folder / "x", rows, answers(0.5), seed=3)
    path = folder / "report.html"
    write_document(path, report(ReportConfig(runs=(run.path, other.path, base.path))))
    return path


CUT = """(() => {
  const shown = (one) => one.checkVisibility() && !one.closest("details:not([open])");
  const name = (one) => one.tagName + "." + one.className + " " + one.textContent.trim().slice(0, 40);
  const scrolls = [...document.querySelectorAll(".scroll")].filter(shown);
  const hint = (one) => +getComputedStyle(one, "::after").opacity;
  const outside = (box) => box.right > innerWidth || box.left < 0;
  const over = (one) => one.scrollWidth > one.clientWidth + 1;
  const numbers = [...document.querySelectorAll("#numbers .metrics")].map((one) => one.closest(".scroll"));
  return {
    cells: [...document.querySelectorAll("td, th")].filter(shown)
      .filter((one) => one.scrollWidth > one.clientWidth + 1).map(name),
    unhinted: scrolls.filter((one) => over(one) && hint(one) < 0.9).map(name),
    hinted: scrolls.filter((one) => !over(one) && hint(one) > 0).map(name),
    overflowing: scrolls.filter(over).length,
    numbers: numbers.filter(over).map(name),
    texts: [...document.querySelectorAll("svg text")].filter(shown).filter((one) => !one.closest(".scroll"))
      .filter((one) => outside(one.getBoundingClientRect())).map(name),
  };
})()"""


@pytest.mark.parametrize("which", ["full", "named"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_without_saying_so(
    tab: Page, request: pytest.FixtureRequest, which: str, width: int
) -> None:
    """No digit is lost: cells hold what they show, and a table that is wider than the page says so."""
    tab.size(width)
    tab.open(request.getfixturevalue(which))
    tab.ready()
    found = tab.evaluate(CUT)
    assert found["cells"] == found["unhinted"] == found["hinted"] == found["numbers"] == found["texts"] == []
    if width == 390:
        assert found["overflowing"] > 0


def test_the_hint_goes_where_there_is_nothing_more(tab: Page, named: Path) -> None:
    tab.size(390)
    tab.open(named)
    tab.ready()
    wide = "[...document.querySelectorAll('.scroll')].find((one) => one.scrollWidth > one.clientWidth + 1)"
    tab.evaluate(f"{wide}.scrollLeft = 10000")
    tab.until(f"+getComputedStyle({wide}, '::after').opacity === 0")


def test_the_last_digit_is_on_the_page(tab: Page, named: Path) -> None:
    """At 390 pixels 512 read 51: the end of every count lies where it can be seen."""
    tab.size(390)
    tab.open(named)
    tab.ready()
    ends = tab.evaluate(
        "[...document.querySelectorAll('#numbers .metrics [data-field=n]')].map((one) => {"
        "const range = document.createRange(); range.selectNodeContents(one);"
        "const box = one.closest('.scroll').getBoundingClientRect();"
        "return [one.textContent, range.getBoundingClientRect().right <= box.right + 0.5]; })"
    )
    assert ["1,200", True] in ends
    assert [text for text, seen in ends if not seen] == []
