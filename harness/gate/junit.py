"""A gate's result as JUnit XML, one test case a rule, as Jenkins, GitLab and others read it."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from harness.gate.text import headline, interval, remarks, value
from harness.plain_text import plain
from harness.runs.gate_record import GateResult, RuleResult, Verdict

SUITE = "harness gate"
_ELEMENTS: dict[Verdict, str | None] = {"pass": None, "fail": "failure", "inconclusive": "error"}
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(result: GateResult, on_inconclusive: Verdict) -> bytes:
    """The XML of a result.

    An inconclusive rule is an `error`, so that no dashboard shows it green; a `failure` or a `skipped` test
    where the policy counts it as failed or passed.
    """
    cases = [_case(rule, on_inconclusive) for rule in result.rules]
    notes = "\n".join(plain(note) for note in remarks(result))
    return _document(cases, headline(result) + (f"\n{notes}" if notes else ""))


def junit_of_error(error: BaseException) -> bytes:
    """The XML of a gate that couldn't decide: a report from an earlier run must not stand in for it."""
    case = Xml.Element("testcase", {"classname": SUITE, "name": "decide", "time": "0"})
    _outcome(case, "error", type(error).__name__, str(error), str(error))
    return _document([case], "")


def _case(rule: RuleResult, on_inconclusive: Verdict) -> Xml.Element:
    case = Xml.Element("testcase", {"classname": SUITE, "name": _legal(rule.rule), "time": "0"})
    element = _ELEMENTS[rule.verdict]
    if rule.verdict == "inconclusive" and on_inconclusive != "inconclusive":
        element = "failure" if on_inconclusive == "fail" else "skipped"
    numbers = f"estimate {value(rule)}, interval {interval(rule) or 'none'}"
    if element is not None:
        _outcome(case, element, rule.verdict, rule.why, f"{rule.rule}: {rule.why} ({numbers})")
    else:
        Xml.SubElement(case, "system-out").text = _legal(f"{rule.why} ({numbers})")
    return case


def _outcome(case: Xml.Element, element: str, kind: str, message: str, text: str) -> None:
    Xml.SubElement(case, element, {"type": kind, "message": _legal(message)}).text = _legal(text)


def _document(cases: list[Xml.Element], output: str) -> bytes:
    def number(tag: str) -> str:
        return str(sum(case.find(tag) is not None for case in cases))

    totals = {"tests": str(len(cases)), "failures": number("failure"), "errors": number("error")}
    suites = Xml.Element("testsuites", {"name": SUITE, **totals})
    suite = Xml.SubElement(suites, "testsuite", {"name": SUITE, **totals, "skipped": number("skipped")})
    suite.extend(cases)
    if output:
        Xml.SubElement(suite, "system-out").text = _legal(output)
    Xml.indent(suites)
    content: bytes = Xml.tostring(suites, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _legal(text: str) -> str:
    """Text that XML 1.0 can hold: control characters and lone surrogates become escapes."""
    lines = (plain(line) for line in text.split("\n"))
    return _ILLEGAL.sub(lambda match: f"\\u{ord(match[0]):04x}", "\n".join(lines))
