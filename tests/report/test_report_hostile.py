"""What models, catalogues and folder names hold is text: it doesn't run, fetch or break anything."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from harness.data.tasks import Item, RankingTask
from harness.report import ReportConfig, report, write_document
from tests.report.chromium import Page as Tab
from tests.report.page_reader import read_page
from tests.report.report_runs import make_run

RUN = "window.attacked=1;fetch('https://attacker.invalid/x')"
ATTACKS = (
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"</pre></td></table></style></title></textarea><img src=x onerror=\"{RUN}\">",
    f"<svg onload=\"{RUN}\"><animate onbegin=\"{RUN}\"/></svg>",
    f'<a href="javascript:{RUN}">javascript:{RUN}</a>',
    f"\"' onmouseover=\"{RUN}\" autofocus onfocus=\"{RUN}\" x='",
    '<meta http-equiv="refresh" content="0;url=https://attacker.invalid/">',
    '<link rel=stylesheet href="https://attacker.invalid/a.css"><base href="https://attacker.invalid/">',
    '<iframe src="https://attacker.invalid/"></iframe><form action="https://attacker.invalid/">',
    "<!--", "]]>", "<![CDATA[", "--!>",
    "{{ 7 * 7 }}{% raw %}{# x #}${7*7}#{7*7}<%= 7*7 %>",
    "{{ page.__class__.__mro__ }}{% include 'report.css' %}",
    "\x00\x01\x1b[31m\x7f\x85\u2028\u2029",
    "\u202eevil\u2066\u2069\u200f\ufeff\u200b\U000e0001",
    "\ud800 lone \udfff\udc00",
    "e" + "\u0301" * 300,
    "\u05d0\u05d1 [1, 2] \u05d2",
    "x" * 1_000_000,
    '{"ranking": [' + "1, " * 200_000 + "1]}",
    " " * 30_000 + '{"ranking": [1, 2]}',
    "&lt;script&gt;&#x3c;script&#x3e;",
    "@import url(https://attacker.invalid/);</style>",
)  # fmt: skip


def hostile_tasks() -> list[RankingTask]:
    """Titles and attributes are attacks; so are the task ids, as far as a task id may hold one."""
    rows = []
    for number, attack in enumerate(ATTACKS):
        title = f"T {attack[:5000]}".encode("utf-8", "replace").decode()
        rows.append(
            RankingTask(
                task_id=f"t{number:02d} {title[:150]}",
                history=(Item(item_id="h", title=title, attributes={title[:80]: title[:80]}),),
                candidates=tuple(Item(item_id=f"c{place}", title=f"{place} {title}") for place in range(3)),
                relevance=(1.0, 0.0, 0.0),
                meta={title: title},
            )
        )
    return rows


def attacking(task: RankingTask, rng: random.Random) -> str:
    return ATTACKS[int(task.task_id[1:3])]


def polite(task: RankingTask, rng: random.Random) -> str:
    return '{"ranking": [1, 2, 3]}' if rng.random() < 0.5 else f"Sure! {task.candidates[0].title[:200]}"


NAMES = ("<script>window.attacked=1<", "{{7*7}} \"'>\u202e&amp;")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    rows = hostile_tasks()
    data = folder / "tasks.jsonl"
    data.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    first = make_run(folder / NAMES[0], rows, polite, data=data)
    second = make_run(folder / NAMES[1], rows, attacking, data=data)
    return first.path, second.path


@pytest.fixture(scope="module")
def file(runs: tuple[Path, Path]) -> Path:
    path = runs[0].parent / "report.html"
    write_document(path, report(ReportConfig(runs=runs, title=f"{ATTACKS[1]} {ATTACKS[13]} {ATTACKS[16]}")))
    return path


def test_policy_allows_the_own_script_and_style_and_nothing_else(file: Path) -> None:
    page = read_page(file)
    metas = [one.attributes for one in page.elements if one.tag == "meta"]
    policy = next(one["content"] for one in metas if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None

    def digest(source: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() + "'"

    rules = {one.split()[0]: one.split()[1:] for one in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == [digest(source) for source in page.scripts]
    assert rules["style-src"] == [digest(source) for source in page.styles]
    assert rules["base-uri"] == rules["form-action"] == ["'none'"]
    assert len(page.scripts) == len(page.styles) == 1


def test_only_known_elements_and_attributes(file: Path) -> None:
    """Nothing in the parsed page came from a run: no element, no handler, no address outside the page."""
    page = read_page(file)
    tags = {one.tag for one in page.elements}
    assert not tags & {
        "img",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "audio",
        "video",
        "animate",
        "textarea",
    }
    assert sum(one.tag == "script" for one in page.elements) == 2
    for element in page.elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on"), element
            assert name not in ("src", "srcset", "action", "style", "srcdoc", "background"), element
            if name in ("href", "xlink:href"):
                assert re.fullmatch(r"#[a-z]+", value or ""), element
    refresh = [one for one in page.elements if one.attributes.get("http-equiv", "") == "refresh"]
    assert refresh == []
    assert "49" not in page.title


def test_the_file_is_clean_text(file: Path) -> None:
    text = file.read_bytes().decode("utf-8", "strict")
    outside = [char for char in text if not char.isprintable() and char != "\n"]
    assert outside == []
    assert len(text) < 1_500_000


def test_outputs_arrive_as_they_are(file: Path, runs: tuple[Path, Path]) -> None:
    rows = read_page(file).rows
    stored = [json.loads(line) for line in (runs[1] / "samples.jsonl").read_text().splitlines()]
    texts = {row["task_id"]: row["text"] for row in stored}
    for task_id, _, cells in rows["rows"]:
        output = cells[1][2]
        if isinstance(output, str):
            assert output == texts[task_id]
            continue
        at = 0
        for piece in output:
            if isinstance(piece, str):
                assert texts[task_id][at : at + len(piece)] == piece
            at += len(piece) if isinstance(piece, str) else piece
        assert at == len(texts[task_id])


LOOK_AT_ALL = """(async () => {
  const more = document.querySelector(".more");
  const seen = [];
  const form = document.querySelector("form");
  for (const [a, b] of [[0, 1], [1, 0], [1, 1]]) {
    form.elements.a.value = a; form.elements.b.value = b;
    form.dispatchEvent(new Event("input", {bubbles: true}));
    while (!more.hidden) more.click();
    for (const button of document.querySelectorAll(".list li button")) {
      button.click();
      document.querySelectorAll(".detail details").forEach((one) => { one.open = true; });
      seen.push(document.querySelector(".detail").innerText);
      for (const one of document.querySelectorAll(".detail *")) {
        one.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
        if (one.attributes.length) for (const name of one.getAttributeNames())
          if (!["class", "title", "open", "data-run"].includes(name)) throw new Error(name);
      }
    }
  }
  form.elements.search.value = "<script>";
  form.dispatchEvent(new Event("input", {bubbles: true}));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return seen;
})()"""


@pytest.mark.parametrize("width", [390, 1600])
def test_nothing_runs_and_nothing_is_fetched(tab: Tab, file: Path, width: int) -> None:
    tab.size(width)
    tab.open(file)
    tab.ready()
    seen = tab.evaluate(LOOK_AT_ALL)
    assert len(seen) == 3 * len(ATTACKS)
    assert tab.evaluate("window.attacked === undefined")
    assert tab.evaluate("location.href") == file.resolve().as_uri()
    assert tab.problems == []
    assert tab.requests == [file.resolve().as_uri()]
    assert tab.evaluate("document.querySelectorAll('script').length") == 2
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    everything = "\n".join(seen)
    for written in (
        ATTACKS[0],
        "\\x00\\x01\\x1b",
        "\\u202eevil",
        "\\ud800",
        "{{ 7 * 7 }}",
        "characters left out",
    ):
        assert written in everything
    for char in "\x00\x1b\u202e\u2066\u200b\ufeff\u2028":
        assert char not in everything


def test_policy_holds_where_escaping_would_fail(tab: Tab, file: Path, tmp_path: Path) -> None:
    """The second line of defence: an attack planted into the file itself still can't run or fetch."""
    planted = tmp_path / "planted.html"
    text = file.read_text(encoding="utf-8")
    attack = f'<main><script>{RUN}</script><img src="https://attacker.invalid/i.png" onerror="{RUN}">'
    planted.write_text(text.replace("<main>", attack, 1), encoding="utf-8")
    tab.open(planted)
    tab.ready()
    assert tab.evaluate("window.attacked === undefined")
    assert sum("Content Security Policy" in one for one in tab.problems) >= 2
    blocked = [one for one in tab.events if one.get("method") == "Network.loadingFailed"]
    assert all(one["params"].get("blockedReason") == "csp" for one in blocked)


def test_nothing_runs_without_the_viewer(tab: Tab, runs: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "static.html"
    write_document(path, report(ReportConfig(runs=runs, max_samples=0)))
    tab.open(path)
    assert tab.problems == []
    assert tab.evaluate("window.attacked === undefined")
    assert tab.evaluate("document.querySelectorAll('script').length") == 0


SECRETS = ("Zanzibar velvet jacket", "Quokka boots 9000", "Brandname")


def leaking(task: RankingTask, rng: random.Random) -> str:
    return rng.choice(
        (
            f"I would choose {task.candidates[0].title} first, then {SECRETS[1].lower()}",
            json.dumps({"ranking": [1, 2], task.candidates[1].title: 1}),
            json.dumps({"ranking": [task.candidates[0].title, 2, 3]}),
            '{"ranking": [2, 1, 3]}',
            "Zanzi bar velvet_jacket 9000",
        )
    )


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secret")
    rows = [
        RankingTask(
            task_id=f"t{number}",
            history=(Item(item_id="h", title=SECRETS[0], attributes={"brand": SECRETS[2]}),),
            candidates=tuple(Item(item_id=f"c{i}", title=f"{SECRETS[i % 2]} {i}") for i in range(3)),
            relevance=(1.0, 0.0, 0.0),
        )
        for number in range(30)
    ]
    return make_run(folder / "run", rows, leaking).path


def test_redacted_titles_are_nowhere(secret: Path) -> None:
    open_page = read_page(report(ReportConfig(runs=(secret,))).document)
    assert "Zanzibar" in open_page.text + json.dumps(open_page.rows)
    for form in ("html", "md"):
        made = report(ReportConfig(runs=(secret,), redact="titles"), form)
        page = read_page(made.document)
        everything = page.text + page.title + (json.dumps(page.rows, ensure_ascii=False) if page.data else "")
        for word in ("zanzi", "velvet", "jacket", "quokka", "boots ", "brandname", "choose"):
            assert word not in everything.lower(), form
        assert not re.search(r"\b9000\b", everything), form  # alone: a digest or a commit may hold it
    rows = read_page(report(ReportConfig(runs=(secret,), redact="titles")).document).rows
    outputs = [cells[0][2] for _, _, cells in rows["rows"]]
    assert '{"ranking": [2, 1, 3]}' in outputs
    assert any("title hidden" in text for text in rows["texts"])


class Tags(HTMLParser):
    """Names of the elements of a page."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


def test_markdown_is_inert(runs: tuple[Path, Path]) -> None:
    text = report(ReportConfig(runs=runs, title=ATTACKS[4]), "md").document
    # A reader of Markdown takes `<` for a tag or an address only where a letter or one of these follows.
    assert not re.search(r"(?<!\\)<[a-zA-Z/!?]", text)
    assert "javascript:" not in text
    page = Tags(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))
    assert page.seen <= {"h3", "ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    assert not re.search(r"(?<!\\)\]\(", text)
    assert all(char.isprintable() or char == "\n" for char in text)
