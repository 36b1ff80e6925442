"""Right answers: JSON values are equal as JSON Schema's `const` says, and each field is counted by itself."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.match import MOST_FIELDS, equal, first_fields, match_names, match_scores
from harness.metrics.ranking import ndcg_at
from harness.metrics.table import (
    METRICS,
    SCORES,
    adds_nothing,
    metric_named,
    metrics_in,
    metrics_of,
    sample_metric,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, -0.0, 1.0, 1.5, 1e300, 2**53 + 1, float(2**53)])
    | st.text("ab1é\u0301", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=5,
)


@given(VALUES, VALUES)
def test_equality_is_that_of_json_schema(answer: Any, expected: Any) -> None:
    validator = jsonschema.Draft202012Validator({"const": expected})
    assert equal(answer, expected) == equal(expected, answer) == validator.is_valid(answer)
    assert equal(answer, json.loads(json.dumps(answer)))


@pytest.mark.parametrize(
    ("answer", "expected", "same"),
    [
        ("1", "1.0", True),
        ("1", "true", False),
        ("0", "false", False),
        ("null", "0", False),
        ('"1"', "1", False),
        ("9007199254740993", "9007199254740992.0", False),
        ('{"a": 1, "b": [2]}', '{"b": [2.0], "a": 1e0}', True),
        ('{"a": 1}', '{"a": 1, "b": null}', False),
        ("[1, 2]", "[2, 1]", False),
        ('"é"', '"e\u0301"', False),
    ],
)
def test_equality_by_example(answer: str, expected: str, same: bool) -> None:
    assert equal(json.loads(answer), json.loads(expected)) is same


def test_fields_are_scored_one_by_one() -> None:
    expected = {"name": "get_weather", "arguments": {"city": "Köln", "days": 2}}
    answer = {"arguments": {"days": 2.0, "city": "Köln"}, "name": "get_wether"}
    wanted = {"match.exact": 0.0, "match.field.arguments": 1.0, "match.field.name": 0.0}
    assert match_scores(answer, expected) == wanted
    assert match_scores(expected, expected) == dict.fromkeys(wanted, 1.0)
    assert match_scores([1], expected) == dict.fromkeys(wanted, 0.0)
    assert (
        match_scores({"name": None}, {"name": None, "x": None})["match.field.x"] == 0.0
    )  # absent isn't null
    assert match_scores([1, 2], [1, 2.0]) == {"match.exact": 1.0}


@given(st.sets(st.integers(0, 200)), st.sets(st.integers(0, 200)))
def test_a_cap_a_task_keeps_every_field_of_the_cap_of_all(mine: set[int], theirs: set[int]) -> None:
    tasks = [{f"f{number:03}" for number in numbers} for numbers in (mine, theirs)]
    kept = first_fields(set.union(*tasks))
    assert len(kept) <= MOST_FIELDS
    for names in tasks:
        assert set(kept) & names <= set(first_fields(names))


def test_names_of_a_runs_metrics() -> None:
    ranked, matched = (
        metrics_of(ranks=True, scores=()),
        metrics_of(ranks=False, scores=match_names({"b c": 1})),
    )
    assert not any(name.startswith("match") for name in ranked)
    assert not any("ndcg" in name or "task_rate" in name for name in matched)
    assert matched[-4:] == ["match.exact", "match.exact.all", "match.field.b c", "match.field.b c.all"]
    assert {*ranked, *matched[:-2]} == METRICS.keys()
    assert [metric.name for metric in metrics_in(matched)] == matched
    assert [metric.name for metric in metrics_in(set(matched))] == matched
    of_field = sample_metric("match.field.b c.all")
    assert of_field is not None
    assert (of_field.score, of_field.always, of_field.is_rate) == ("match.field.b c", True, True)
    assert metric_named("match.field.") is metric_named("match.other") is metric_named("nothing") is None
    assert match_names({"x": 1, "x.all": 2, "": 3}) == ("match.exact", "match.field.x")


@pytest.mark.parametrize("ranking", [(), (0,), (4, 4), (2, 2, 1), (9, 1, 2, 3, 4, 5)])
def test_scores_of_what_is_no_permutation(ranking: tuple[int, ...]) -> None:
    for score in SCORES.values():
        assert 0.0 <= (score((3, 1, 0), ranking) or 0.0) <= 1.0


def test_the_best_m_are_scored_over_m_ranks() -> None:
    labels = (0, 3, 1, 0)
    assert SCORES["ndcg_at_k"](labels, (2, 3)) == SCORES["ndcg_at_k"](labels, (2, 3, 1, 4)) == 1.0
    assert SCORES["ndcg_at_k"](labels, (3, 2)) == ndcg_at(labels, (3, 2), 2)
    assert SCORES["ndcg_at_k"](labels, (2,)) == SCORES["ndcg_at_1"](labels, (2,)) == 1.0


def test_lenient_answers_that_are_none() -> None:
    metrics = {"ndcg_at_1.parsed": 1, "ndcg_at_1.lenient": 1, "ndcg_at_k.parsed": 1, "ndcg_at_k.lenient": 2}
    assert [name for name in metrics if adds_nothing(name, metrics)] == ["ndcg_at_1.lenient"]


def test_a_field_called_all_has_metrics_of_its_own() -> None:
    matched = metrics_of(ranks=False, scores=match_names({"all": 1, "x.all": 2, "a\nb": 3, "": 4}))
    assert matched[-2:] == ["match.field.all", "match.field.all.all"]
    one, every = (sample_metric(name) for name in matched[-2:])
    assert one is not None
    assert every is not None
    assert (one.name, one.score, one.always) == ("match.field.all", "match.field.all", False)
    assert (every.name, every.score, every.always) == ("match.field.all.all", "match.field.all", True)
