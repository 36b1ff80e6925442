"""The page in a real Chromium: what a reader sees, clicks and types; without scripts; on paper."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from harness.report import ReportConfig, report, write_document
from tests.report.chromium import Page
from tests.report.page_reader import read_page
from tests.report.report_runs import answers, gated, judged, make_run, tasks, with_cliff

WIDTHS = (390, 1024, 1600)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    rows = tasks(130)
    base = judged(gated(with_cliff(make_run(folder / "sft", rows, answers(0.5), seed=1), 1.0)))
    gated(with_cliff(make_run(folder / "student", rows, answers(0.9), seed=2), 1.2), base)
    with_cliff(make_run(folder / "far", rows, answers(0.2), seed=3), 1.6)
    return folder


@pytest.fixture(scope="module")
def file(runs: Path) -> Path:
    path = runs / "report.html"
    three = (runs / "sft", runs / "student", runs / "far")
    write_document(path, report(ReportConfig(runs=three, baseline="sft")))
    return path


def rows_of(file: Path) -> dict[str, Any]:
    return read_page(file).rows


def kind(first: list[Any], second: list[Any]) -> str:
    before, after = first[1] < 0, second[1] < 0
    return {(True, True): "both_pass", (True, False): "broken", (False, True): "fixed"}.get(
        (before, after), "both_fail"
    )


def shown(tab: Page) -> int:
    """How many samples the viewer says match."""
    return int(tab.evaluate("document.querySelector('.count').textContent").split()[0].replace(",", ""))


def choose(tab: Page, name: str, value: object) -> None:
    tab.evaluate(
        f"(() => {{ const field = document.querySelector('form').elements[{json.dumps(name)}];"
        f"field.value = {json.dumps(str(value))};"
        "field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_loads_without_an_error_or_a_request(tab: Page, file: Path) -> None:
    tab.open(file)
    tab.ready()
    assert tab.problems == []
    assert tab.requests == [file.resolve().as_uri()]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_at_the_side(tab: Page, file: Path, width: int, dark: bool) -> None:
    tab.size(width)
    tab.dark(dark)
    tab.open(file)
    tab.ready()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    wide = tab.evaluate(
        "[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll, .sr, .skip, svg')"
        f" && one.getBoundingClientRect().right > {width} + 1).map(one => one.tagName + '.' + one.className)"
    )
    assert wide == []


def test_dark_is_dark(tab: Page, file: Path) -> None:
    def lightness() -> int:
        colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))

    tab.open(file)
    light = lightness()
    tab.dark(True)
    assert lightness() < 150
    assert light > 600


@pytest.mark.parametrize("outcome", ["broken", "fixed", "both_fail", "both_pass"])
def test_filter_by_outcome(tab: Page, file: Path, outcome: str) -> None:
    tab.open(file)
    tab.ready()
    choose(tab, "outcome", outcome)
    rows = rows_of(file)["rows"]
    assert shown(tab) == sum(kind(cells[0], cells[1]) == outcome for _, _, cells in rows) > 0


def test_filter_by_code_task_and_other_run(tab: Page, file: Path) -> None:
    data = rows_of(file)
    code = data["codes"].index("duplicate_id")
    tab.open(file)
    tab.ready()
    choose(tab, "code", code)
    assert shown(tab) == sum(code in (cells[0][1], cells[1][1]) for _, _, cells in data["rows"]) > 0
    choose(tab, "b", 2)
    assert shown(tab) == sum(code in (cells[0][1], cells[2][1]) for _, _, cells in data["rows"])
    choose(tab, "code", "")
    choose(tab, "task", data["rows"][7][0])
    assert shown(tab) == 1
    assert data["rows"][7][0] in tab.evaluate("document.querySelector('.detail h3').textContent")
    choose(tab, "task", "no such task")
    assert shown(tab) == 0
    assert "No sample" in tab.evaluate("document.querySelector('.detail').textContent")


def test_search_goes_through_outputs_prompts_and_reasons(tab: Page, file: Path) -> None:
    data = rows_of(file)
    tab.open(file)
    tab.ready()
    for words in ("sure!", "handbag", "[5, 4"):
        choose(tab, "search", words)
        expected = 0
        for task_id, _, cells in data["rows"]:
            texts = [task_id]
            for cell in cells:
                texts += [cell[2], data["texts"][cell[4]], data["texts"][cell[7]]]
            expected += words in "\n".join(texts).lower()
        assert shown(tab) == expected > 0


OUTPUTS = """(() => {
  const found = [];
  const marked = (node) => (node.className || "").includes("differs");
  const added = (node) => node.textContent === "(end)" || (node.className || "").includes("gap");
  for (let place = 0; place < 60; place++) {
    document.querySelectorAll(".list li button")[place].click();
    found.push([...document.querySelectorAll(".detail pre[data-run]")].map((pre) => {
      const nodes = [...pre.childNodes].filter((node) => !added(node));
      const text = (some) => some.map((node) => node.textContent).join("");
      return [text(nodes), text(nodes.filter((node) => !marked(node)))];
    }));
  }
  return found;
})()"""


def longest_common_subsequence(first: str, second: str) -> int:
    row = [0] * (len(second) + 1)
    for one in first:
        diagonal = 0
        for place, other in enumerate(second, 1):
            diagonal, row[place] = (
                row[place],
                diagonal + 1 if one == other else max(row[place], row[place - 1]),
            )
    return row[-1]


def test_difference_is_the_smallest(tab: Page, file: Path) -> None:
    """What isn't marked is the same in both outputs, and no longer text is."""
    tab.open(file)
    tab.ready()
    rows = {(cells[0][2], cells[1][2]) for _, _, cells in rows_of(file)["rows"]}
    different = 0
    for (first, kept_first), (second, kept_second) in tab.evaluate(OUTPUTS):
        assert (first, second) in rows
        assert kept_first == kept_second
        assert len(kept_first) == longest_common_subsequence(first, second)
        different += first != second
    assert different > 20


def test_failing_place_is_marked(tab: Page, file: Path) -> None:
    data = rows_of(file)
    tab.open(file)
    tab.ready()
    seen = set()
    for code in ("extra_text", "duplicate_id", "wrong_length", "not_json", "empty"):
        choose(tab, "code", data["codes"].index(code))
        choose(tab, "a", 2)
        choose(tab, "b", 2)
        boxed = tab.evaluate("document.querySelector('.detail mark.fails').textContent")
        output = tab.evaluate("document.querySelector('.detail pre').textContent")
        row = next(cells for _, _, cells in data["rows"] if cells[2][1] == data["codes"].index(code))
        text, place = row[2][2], row[2][3]
        assert boxed == (text[place] if place < len(text) else "(end)")
        assert output.startswith(text)
        seen.add(boxed)
    assert "S" in seen  # of "Sure!"
    assert "(end)" in seen


def test_keyboard_alone(tab: Page, file: Path) -> None:
    tab.open(file)
    tab.ready()
    order = []
    for _ in range(200):
        tab.press("Tab")
        focused = tab.evaluate(
            "document.activeElement.name || (document.activeElement.closest('.list') ? 'list' : '')"
        )
        if focused:
            order.append(focused)
        if focused == "list":
            break
    assert order == ["a", "b", "outcome", "code", "task", "search", "list"]

    def current() -> str:
        return str(tab.evaluate("document.querySelector('[aria-current=true] span').textContent"))

    ids = [task_id for task_id, _, _ in rows_of(file)["rows"]]
    for key, place in (
        ("ArrowDown", 1),
        ("j", 2),
        ("ArrowUp", 1),
        ("k", 0),
        ("ArrowUp", 0),
        ("End", len(ids) - 1),
        ("ArrowDown", len(ids) - 1),
        ("Home", 0),
    ):
        tab.press(key)
        assert current() == ids[place], key
        assert tab.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
        assert ids[place] in tab.evaluate("document.querySelector('.detail h3').textContent")
    tab.press("/")
    assert tab.evaluate("document.activeElement.name") == "search"
    tab.type("handbag")
    assert tab.evaluate("document.activeElement.value") == "handbag"
    assert 0 < shown(tab) < len(ids)


def test_long_lists_are_shown_in_pages(tab: Page, file: Path) -> None:
    tab.open(file)
    tab.ready()
    assert tab.evaluate("document.querySelectorAll('.list li').length") == 100
    tab.evaluate("document.querySelector('.more').click()")
    assert tab.evaluate("document.querySelectorAll('.list li').length") == 130
    assert tab.evaluate("document.querySelector('.more').hidden")


def test_without_scripts(tab: Page, file: Path) -> None:
    tab.scripts(False)
    tab.open(file)
    assert tab.problems == []
    document = tab.send("DOM.getDocument")["root"]["nodeId"]

    def visible(selector: str) -> bool:
        node = tab.send("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        try:
            return bool(tab.send("DOM.getBoxModel", nodeId=node)["model"]["height"])
        except RuntimeError:
            return False

    assert visible("#examples .example pre")
    assert visible("#examples mark.fails")
    assert visible("#examples mark.differs")
    assert visible("#numbers td.num")
    assert not visible("#viewer")


def test_with_scripts_the_static_part_gives_way(tab: Page, file: Path) -> None:
    tab.open(file)
    tab.ready()
    assert tab.evaluate("document.getElementById('examples').hidden")
    assert not tab.evaluate("document.getElementById('viewer').hidden")


def test_prints(tab: Page, file: Path) -> None:
    tab.open(file)
    tab.ready()
    printed = tab.pdf()
    assert printed.startswith(b"%PDF-")
    assert 2 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page\r") <= 40
    tab.send("Emulation.setEmulatedMedia", media="print")
    assert tab.evaluate("getComputedStyle(document.getElementById('examples')).display") == "block"
    assert tab.evaluate("getComputedStyle(document.getElementById('viewer')).display") == "none"
    tab.send("Emulation.setEmulatedMedia", media="")


def axe_source() -> str:
    named = os.environ.get("AXE_CORE")
    if named:
        return Path(named).read_text(encoding="utf-8")
    pytest.importorskip("axe_core_python", reason="axe-core isn't installed; pip install axe-core-python")
    return (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1600])
def test_axe_finds_nothing(tab: Page, file: Path, width: int, dark: bool) -> None:
    tab.size(width)
    tab.dark(dark)
    tab.open(file)
    tab.ready()
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    tab.evaluate(axe_source())
    result = tab.evaluate("axe.run(document).then(found => JSON.stringify(found))")
    found = json.loads(result)
    assert len(found["passes"]) > 15
    faults = [
        (
            one["id"],
            one["impact"],
            [node["target"] for node in one["nodes"]][:3],
            one["nodes"][0]["failureSummary"],
        )
        for one in found["violations"]
    ]
    assert faults == []
