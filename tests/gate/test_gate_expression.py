"""Rules are read exactly, or refused with a hint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gate.expression import BaselineRule, NumberRule, PolicyError, WordRule, parse_rule

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}(\.[a-z0-9_](-?[a-z0-9_]){0,3}){0,2}", fullmatch=True)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SPACE = st.text(" \t", max_size=2)


@given(name=NAMES, sense=st.sampled_from([">=", "<="]), bar=NUMBERS, a=SPACE, b=SPACE)
def test_a_number_comes_back_to_the_last_bit(name: str, sense: str, bar: float, a: str, b: str) -> None:
    rule = parse_rule(f"{name}{a}{sense}{b}{bar!r}")
    assert isinstance(rule, NumberRule)
    assert (rule.metric, rule.sense) == (name, sense)
    assert rule.bar == bar


@given(name=NAMES, shift=st.floats(0, 1), sign=st.sampled_from("+-"), a=SPACE, b=SPACE)
def test_a_shift_keeps_its_sign(name: str, shift: float, sign: str, a: str, b: str) -> None:
    rule = parse_rule(f"{name} >= baseline{a}{sign}{b}{shift!r}")
    assert isinstance(rule, BaselineRule)
    assert rule.shift == (shift if sign == "+" else -shift)


@given(st.text())
def test_anything_is_a_rule_or_one_line(text: str) -> None:
    outcome: NumberRule | BaselineRule | WordRule | str
    try:
        outcome = parse_rule(text)
    except PolicyError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert len(outcome.splitlines()) == 1
    else:
        assert parse_rule(outcome.text) == outcome


def test_baseline_alone() -> None:
    rule = parse_rule("ndcg_at_1.all >= baseline")
    assert rule == BaselineRule("ndcg_at_1.all >= baseline", "ndcg_at_1.all", ">=", 0.0)


@pytest.mark.parametrize(
    ("bound", "shift"), [("- 0.02 common", -0.02), ("common", 0.0), ("+0.1  common", 0.1)]
)
def test_common_stands_at_the_end(bound: str, shift: float) -> None:
    rule = parse_rule(f"ndcg_at_1.parsed >= baseline {bound}")
    assert isinstance(rule, BaselineRule)
    assert (rule.shift, rule.common) == (shift, True)


def test_words() -> None:
    rule = parse_rule("cliff.verdict  in  [left,  on_cliff]")
    assert rule == WordRule("cliff.verdict in [left, on_cliff]", "cliff.verdict", ("left", "on_cliff"))


def test_rubric_names_hold_hyphens() -> None:
    rule = parse_rule("rubric.listwise-relevance >= baseline - 0.05")
    assert isinstance(rule, BaselineRule)
    assert rule.metric == "rubric.listwise-relevance"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no comparison"),
        ("parse_validity.strict", "no comparison"),
        ("parse_validity.strict > 0.95", "write `>=`"),
        ("parse_validity.strict < 0.95", "write `<=`"),
        ("parse_validity.strict = 0.95", "write `>=`"),
        ("parse_validity.strict ≥ 0.95", "write `>=`"),
        ("parse_validity.strict >= 95%", "write 95 % as 0.95"),
        ("parse_validity.strict >= 95 %", "write 95 % as 0.95"),
        ("parse_validity.strict >= ", "number is missing"),
        ("parse_validity.strict >= nan", "no number"),
        ("parse_validity.strict >= inf", "no number"),
        ("parse_validity.strict >= 1e999", "too large"),
        ("parse_validity.strict >= 0x1", "no number"),
        ("parse_validity.strict >= 1_0", "no number"),
        ("parse_validity.strict >= ٣", "no number"),
        ("parse_validity.strict >= __import__('os')", "no number"),
        ("parse_validity.strict >= basline - 0.1", "no number"),
        ("parse_validity.strict >= baseline * 2", "after `baseline`"),
        ("parse_validity.strict >= baseline -", "after `baseline`"),
        ("parse_validity.strict >= baseline - -0.1", "one sign"),
        ("ndcg_at_1.parsed >= baseline - 0.02 comon", "no number"),
        ("ndcg_at_1.parsed >= baseline common 0.02", "after `baseline`"),
        ("ndcg_at_1.parsed >= 0.5 common", "`common` goes with `baseline`"),
        ("cliff.verdict == left", "write `in [left]`"),
        ("cliff.verdict = left", "write `in [left]`"),
        ("parse validity >= 0.95", "no metric name"),
        ("0.95 <= parse_validity.strict", "no metric name"),
        (".strict >= 0.95", "no metric name"),
        ("cliff.verdict in left", "list of words"),
        ("cliff.verdict in []", "list of words"),
        ("cliff.verdict in [left,]", "list of words"),
        ("cliff.verdict in [left, left]", "twice"),
        ("cliff.verdict in [[left]]", "list of words"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(PolicyError, match="rule `") as error:
        parse_rule(text)
    assert says in str(error.value)
