"""Replies: what is scored, and why the rest is not."""

import json
from pathlib import Path

import jsonschema
import pytest

from harness.judge.answer import (
    PASSING,
    PERHAPS_PAID,
    UNSCORED_REASONS,
    AnswerReader,
    pair_schema,
    ranking_schema,
)
from harness.judge.client import MAYBE_CHARGED, RETRIED, Reply
from harness.judge.rubric_file import load_rubric

RUBRIC = load_rubric("listwise-relevance")
CASES = json.loads((Path(__file__).parents[1] / "cases" / "judge_answers.json").read_text())
GOOD = {"reason": "fine", "scores": {"top_choice": 5, "order": 4, "near_misses": 1}}


def reply(text: str | None = None, finish: str = "STOP", blocked: str | None = None) -> Reply:
    return Reply(text, finish, blocked, 10, 5)


@pytest.mark.parametrize("case", CASES["rankings"], ids=lambda case: case["name"])
def test_ranking_answers(case: dict) -> None:
    text = json.dumps(case["json"]) if "json" in case else case["text"]
    verdict = AnswerReader(RUBRIC).verdict(reply(text, case.get("finish", "STOP"), case.get("blocked")))
    assert verdict.unscored == case["unscored"]
    assert verdict.scores == case.get("scores")
    assert verdict.note or case["unscored"] is None


@pytest.mark.parametrize("case", CASES["pairs"], ids=lambda case: case["name"])
def test_pair_answers(case: dict) -> None:
    verdict = AnswerReader(RUBRIC).pair_verdict(reply(case["text"]))
    assert (verdict.better, verdict.unscored) == (case.get("better"), case["unscored"])


def test_notes_are_bounded() -> None:
    long = {**GOOD, "reason": "x" * 10_000}
    assert len(AnswerReader(RUBRIC).verdict(reply(json.dumps(long))).note) == 500


def test_a_deeply_nested_answer_is_unscored() -> None:
    assert AnswerReader(RUBRIC).verdict(reply("[" * 100_000)).unscored == "not_json"


def test_schemas_are_schemas() -> None:
    for schema in (ranking_schema(RUBRIC), pair_schema()):
        jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(GOOD, ranking_schema(RUBRIC))


def test_every_way_to_fail_has_a_reason_of_its_name() -> None:
    assert (RETRIED | MAYBE_CHARGED | {"rejected"}) <= set(UNSCORED_REASONS)
    assert (RETRIED | MAYBE_CHARGED) <= PASSING | PERHAPS_PAID
