"""Prices, bounds, and a budget that holds."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.judge.answer import ranking_schema
from harness.judge.client import Question
from harness.judge.cost import Budget, Price, Tokens, most_tokens, price_of
from harness.judge.prompt import Prompt
from harness.judge.rubric_file import load_rubric, rubrics_root

RUBRIC = load_rubric("listwise-relevance")


def test_a_price_changes_on_its_day() -> None:
    assert price_of("gemini-3.8-flash", date(2026, 12, 31)) == Price(0.75, 3.75)
    assert price_of("gemini-3.8-flash", date(2027, 1, 1)) == Price(1.5, 7.5)


def test_an_unlisted_model_has_no_price() -> None:
    assert price_of("gemini-99-flash", date(2026, 12, 1)) is None


def test_the_judges_of_the_shipped_rubrics_are_listed() -> None:
    for path in rubrics_root().glob("*.yaml"):
        assert price_of(load_rubric(path).model.name, date(2026, 12, 1)) is not None


def test_cost_by_hand() -> None:
    assert Price(0.3, 2.5).cost(Tokens(1_000_000, 100_000)) == pytest.approx(0.3 + 0.25)


@pytest.mark.parametrize("prices", [(-1.0, 1.0), (1.0, float("nan")), (float("inf"), 1.0)])
def test_a_price_must_be_one(prices: tuple[float, float]) -> None:
    with pytest.raises(HarnessError, match="two numbers"):
        Price(*prices)


@given(st.text(max_size=300))
def test_no_tokenizer_can_exceed_the_bound(text: str) -> None:
    """The finest tokenizer there is makes one token of every byte."""
    question = Question(RUBRIC.model, Prompt("system", text), ranking_schema(RUBRIC))
    finest = len(b"system") + len(text.encode("utf-8", "surrogatepass"))
    assert most_tokens(question).prompt >= finest
    assert most_tokens(question).output == RUBRIC.model.max_output_tokens


@given(
    st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1), st.booleans()), max_size=60),
    st.none() | st.integers(0, 30),
    st.none() | st.floats(0, 10),
)
def test_no_order_of_sending_and_settling_breaks_a_cap(
    requests: list[tuple[float, float, bool]], most: int | None, cap: float | None
) -> None:
    """Each request costs a share of its bound; some settle at once, others stay under way for long."""
    budget = Budget(most, cap)
    under_way: list[tuple[float, float]] = []
    billed = 0.0
    for bound, share, at_once in requests:
        if budget.allows_request() and budget.allows_cost(bound):
            budget.reserve(bound)
            under_way.append((bound, bound * share))
        if at_once and under_way:
            settled, cost = under_way.pop(0)
            budget.settle(settled, cost)
            billed += cost
        assert most is None or budget.requests <= most
        assert cap is None or billed + sum(bound for bound, _ in under_way) <= cap * (1 + 1e-9) + 1e-12
    for settled, cost in under_way:
        budget.settle(settled, cost)
        billed += cost
    assert budget.in_flight == 0
    assert budget.reserved == 0.0
    assert budget.spent == pytest.approx(billed)
    assert cap is None or billed <= cap * (1 + 1e-9) + 1e-12


def test_reserving_beyond_a_cap_is_refused() -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget(None, 1.0).reserve(1.01)
    with pytest.raises(ValueError, match="budget"):
        Budget(0, None).reserve(0.0)


def test_earlier_sessions_count() -> None:
    budget = Budget(10, 1.0, requests=9, spent=0.95)
    assert budget.allows_cost(0.05)
    assert not budget.allows_cost(0.06)
    budget.reserve(0.01)
    assert not budget.allows_request()
