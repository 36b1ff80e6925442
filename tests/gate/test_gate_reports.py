"""JUnit XML, Markdown and plain text: well-formed for CI systems, harmless whatever a run says of itself."""

import io
import json
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from harness.cli.gate import print_gate
from harness.errors import DataError, HarnessError, IncompleteError
from harness.gate import GateResult, LiveFacts, Policy, RuleResult, Subject
from harness.gate.junit import junit, junit_of_error
from harness.gate.markdown import append_job_summary, summary, summary_of_error
from harness.gate.record import record, write_record
from harness.gate.text import as_text
from harness.plain_text import plain
from harness.runs.text import escape
from harness.stats import Estimate

# What the schema that Jenkins ships (xunit-plugin, junit-10.xsd) allows, in our own words:
# element → (required attributes, optional ones, children).
ALLOWED: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "timestamp", "hostname", "id", "package", "group", "file", "log", "url"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name"},
        {"time", "classname", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": (set(), {"type", "message"}, set()),
    "error": (set(), {"type", "message"}, set()),
    "skipped": (set(), {"type", "message"}, set()),
    "system-out": (set(), set(), set()),
}
SEVERAL_LINES = (
    "a\nb\r\n::error::pwned\n##[error]x\x1b[31m\x00\x7f\u202e\ud800 | <b> ]]> & ` @all https://e.x"
)


def rule(verdict: str = "pass", text: str = "parse_validity.strict >= 0.95", why: str = "so") -> RuleResult:
    estimate = Estimate(500, 0.97, 0.954, 0.981, "clopper-pearson")
    return RuleResult(text, "parse_validity.strict", 0.95, estimate, verdict, why, 0.02, 0.98)  # type: ignore[arg-type]


def result(*rules: RuleResult, checkpoint: str = "ckpt", notes: tuple[str, ...] = ()) -> GateResult:
    subject = Subject("runs/x", checkpoint, "fashion-mini (test)", 500, 500, "teacher in runs/t")
    return GateResult("fail", 1, rules or (rule(),), notes, subject, 0.05)


def check_element(element: Xml.Element) -> None:
    required, optional, children = ALLOWED[element.tag]
    assert required <= set(element.keys()) <= required | optional
    assert all(child.tag in children for child in element)
    for child in element:
        check_element(child)


def parsed(content: bytes) -> Xml.Element:
    root = Xml.fromstring(content)
    check_element(root)
    for suite in root.iter("testsuite"):
        cases = suite.findall("testcase")
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[attribute]) == sum(case.find(tag) is not None for case in cases)
        assert int(suite.attrib["tests"]) == len(cases)
    return root


@pytest.mark.parametrize(
    ("on_inconclusive", "tag"), [("inconclusive", "error"), ("fail", "failure"), ("pass", "skipped")]
)
def test_one_case_a_rule_with_its_outcome(on_inconclusive: str, tag: str) -> None:
    content = junit(result(rule(), rule("fail"), rule("inconclusive")), on_inconclusive)  # type: ignore[arg-type]
    cases = parsed(content).findall(".//testcase")
    tags = [[child.tag for child in case] for case in cases]
    assert tags == [["system-out"], ["failure"], [tag]]
    failure = cases[1].find("failure")
    assert failure is not None
    assert (failure.attrib["message"], failure.attrib["type"]) == ("so", "fail")


@given(text=st.text(), why=st.text())
def test_any_text_gives_xml_that_can_be_read(text: str, why: str) -> None:
    shown = result(rule("fail", text, why), checkpoint=text, notes=(why,))
    parsed(junit(shown, "inconclusive"))
    parsed(junit_of_error(DataError(text)))


def test_xml_keeps_what_is_said() -> None:
    content = junit(result(rule("fail", 'a <b> & "c"', SEVERAL_LINES)), "inconclusive")
    [case] = parsed(content).findall(".//testcase")
    assert case.attrib["name"] == 'a <b> & "c"'
    assert "\x1b" not in content.decode()
    assert "\\x1b[31m" in content.decode()


def test_no_decision_is_an_error_in_the_report() -> None:
    [case] = parsed(junit_of_error(IncompleteError("too few"))).findall(".//testcase")
    error = case.find("error")
    assert error is not None
    assert (error.attrib["type"], error.attrib["message"]) == ("IncompleteError", "too few")


@given(st.text())
def test_plain_text_stays_on_its_line(text: str) -> None:
    shown = plain(text)
    # A space of another script is one still, and a joiner inside an emoji belongs to it.
    odd = {char for char in shown if not char.isprintable() and unicodedata.category(char) != "Zs"}
    assert odd <= {"\u200d"}
    assert "::" not in shown
    assert "##[" not in shown
    shown.encode()


def test_nothing_in_the_text_commands_a_ci_system() -> None:
    shown = as_text(result(rule("fail", why=SEVERAL_LINES), checkpoint=SEVERAL_LINES, notes=(SEVERAL_LINES,)))
    assert len(shown.splitlines()) == 3
    assert "::error" not in shown
    assert "##[" not in shown


MARKUP = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *"\\`*_~[]()<>{}#+-=!|$@:&.\"' 1a\u00e9\u03bb",
                "<b>", "</b>", "<!--", "&lt;", "&#42;", "http://x.yz", "www.x.yz", "a@b.cd", "__", "**",
                "](u)", "1. ", "- ", "> ", "===", "---", "~~~", "```", "    ", "a_b >= 0.95",
                "NDCG@1", "p < 0.001",
            ]
        ),
        st.text(max_size=3),
    ),
    max_size=8,
).map("".join)  # fmt: skip
PLACES = ("{}\n", "- {}\n", "- **{}** ({}); x.\n", "| a | b |\n|---|---|\n| {} | x |\n", "### {}\n")


class Read(HTMLParser):
    """What a rendered page says, and the elements it has."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.tags: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(markdown: str) -> Read:
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return Read(reader.render(markdown))


@pytest.mark.parametrize("place", PLACES)
@given(text=MARKUP)
def test_escaped_markdown_reads_as_the_text(place: str, text: str) -> None:
    """Rendered where the product puts it, it is the text, and makes no element of its own."""
    assume(plain(text).strip())
    shown, around = rendered(place.replace("{}", escape(text))), rendered(place.replace("{}", "y"))
    assert shown.tags == around.tags
    expected = around.text.replace("y", plain(text).strip())
    assert "".join(shown.text.split()) == "".join(expected.split())


def test_escaped_markdown_is_readable() -> None:
    for words in (
        "parse_validity.strict >= 0.95",
        "NDCG@1 0.955 (0.93 \u2026 0.97), n 512, p < 0.001",
        "K = 8; 3.2 %",
    ):
        assert escape(words) == words


def test_escaped_markdown_names_no_person_issue_or_address() -> None:
    for words in ("@somebody", "see #12", "http://x.yz", "www.x.yz", "a@b.cd", ":tada:", "a/b#3"):
        assert not re.search(r"@\w|#\d(?!\d*;)|://|www\.|:\w", escape(words)), words


def test_a_summary_is_one_table_row_a_rule() -> None:
    text = summary(result(rule(), rule("fail", why=SEVERAL_LINES), notes=(SEVERAL_LINES,)))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {row.count("|") for row in rows} == {7}
    assert "90% interval" in rows[0]


@pytest.mark.parametrize(
    ("alpha", "level"),
    [
        (0.05, "90%"),
        (0.025, "95%"),
        (0.0125, "97.5%"),
        (0.005, "99%"),
        (0.0021, "99.58%"),
        (0.05 / 6, "98.33%"),
        (1e-5, "99.998%"),
        (0.05 / 380 / 4, "99.9934%"),
        (1e-9, "99.9999998%"),
        (0.49, "2%"),
    ],
)
def test_no_level_is_rounded_to_another(alpha: float, level: str) -> None:
    one = replace(result(rule()), alpha=alpha)
    assert f"| {level} interval |" in summary(one)
    console = Console(width=200, record=True, file=io.StringIO())
    print_gate(one, console)
    assert f" {level} interval" in console.export_text()


def test_the_job_summary_is_appended_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "summary.md"
    target.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
    append_job_summary(summary_of_error(DataError("a | b")))
    text = target.read_text()
    assert text.startswith("before\n")
    assert "a &#124; b" in text
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    append_job_summary("nowhere")


def test_what_was_saved_is_said() -> None:
    live = replace(result(), live=LiveFacts(60, 500, 64, 436, True))
    assert "stopped early after 60 of 500 tasks; 64 samples drawn, 436 saved" in as_text(live)
    assert "436 saved" in summary(live)


def test_the_record_can_be_read_back(tmp_path: Path) -> None:
    policy = Policy(alpha=0.01)
    write_record(tmp_path, result(), policy)
    stored = json.loads((tmp_path / "gate.json").read_text())
    assert stored.pop("seal")
    assert stored == json.loads(json.dumps(record(result(), policy))) | {"decided": stored["decided"]}
    assert stored["policy_sha256"] == policy.sha256
    assert stored["rules"][0]["estimate"]["low"] == 0.954
    assert [path.name for path in tmp_path.iterdir()] == ["gate.json"]


def test_a_record_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(HarnessError, match="`no_record=True`"):
        write_record(tmp_path / "taken", result(), Policy())
