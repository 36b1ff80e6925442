"""Answers that are wrong in one way are told what would take them, by judging them so; others aren't."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from harness.contract import Contract, Terms
from harness.contract.diagnosis import Answered, diagnosis

K = 5
MARKS = ("[/THINK]", "</think>")
IDS = tuple(f"B{number:03}" for number in range(K))
Form = Callable[[list[int]], Any]


def answers(
    form: Form, *, around: str = "{}", n: int = 20, contract: Contract | None = None, good: int = 0
) -> list[Answered]:
    """n answers, each a random ranking 1…K in this form, `good` of them right as they are."""
    rng = random.Random(0)
    terms = Terms(contract or Contract(), K, IDS)
    found = []
    for number in range(n):
        ranking = rng.sample(range(1, K + 1), K)
        text = around.replace("{}", json.dumps(form(ranking), ensure_ascii=False))
        found.append(Answered(terms.answer(ranking) if number < good else text, terms))
    return found


def listed(ranking: list[int]) -> Any:
    return {"ranking": ranking}


FORMS: list[tuple[Form, str]] = [
    (
        lambda r: {"ranking": [n - 1 for n in r]},
        "from 0: `contract='{ids: number0}'` takes them",
    ),
    (
        lambda r: {"ranking": [IDS[n - 1] for n in r]},
        "item ids: `contract='{ids: item_id}'` takes them",
    ),
    (lambda r: {"ranking": [str(n) for n in r]}, "`contract='{ids: string}'`"),
    (lambda r: {"ranking": ["ABCDE"[n - 1] for n in r]}, "`contract='{ids: letter}'`"),
    (lambda r: r, "are bare arrays: `contract='{ranking: $}'` takes them"),
    (lambda r: {"order": r}, "rank under $.order: `contract='{ranking: $.order}'` takes them"),
    (lambda r: {"result": {"ids": r}}, "`contract='{ranking: $.result.ids}'`"),
    (lambda r: {"ranking": r, "why": "x"}, "have further keys: `contract='{extra_keys: true}'` takes them"),
    (lambda r: {"ranking": r[:3]}, "list only 3: `contract='{length: {top: 3}}'` takes them"),
    (
        lambda r: {"ranking": [{"reason": "good", "id": n} for n in r]},
        "list objects whose `id` is the id: `contract='{id_field: id}'` takes them",
    ),
    (
        lambda r: {"top": [{"item": IDS[n - 1], "score": 0.5} for n in r[:2]], "note": ""},
        "`contract='{ranking: $.top, ids: item_id, id_field: item, length: {top: 2}, extra_keys: true}'`",
    ),
]


@pytest.mark.parametrize(("form", "said"), FORMS)
def test_another_contract_is_named(form: Form, said: str) -> None:
    found = diagnosis(answers(form))
    assert found is not None
    assert said in found
    assert "20 looked at" in found
    assert "100% are valid" in found
    assert "\n" not in found


def test_what_stands_around_the_answer() -> None:
    fenced = diagnosis(answers(listed, around="```json\n{}\n```"))
    assert fenced is not None
    assert "``` fences: parse_validity.lenient counts those" in fenced
    thinking = diagnosis(answers(listed, around="<think>\nhm {\n</think>\n\n{}"), marks=MARKS)
    assert thinking is not None
    assert "`reasoning_end=</think>`" in thinking
    prose = diagnosis(answers(listed, around="Sure! {} Hope that helps."))
    assert prose is not None
    assert "one valid answer within other text" in prose
    both = diagnosis(
        answers(lambda r: {"ranking": [n - 1 for n in r]}, around="<think>a</think>```\n{}\n```"), marks=MARKS
    )
    assert both is not None
    assert all(part in both for part in ("</think>", "fences", "number0"))


@pytest.mark.parametrize(
    "given",
    [
        answers(listed),
        answers(FORMS[0][0], n=7),
        answers(FORMS[0][0], good=3),
        [],
        [Answered("", Terms(Contract(), K, IDS))] * 20,
        [Answered("no idea", Terms(Contract(), K, IDS))] * 20,
        [Answered('{"ranking": [9, 9, 9]}', Terms(Contract(), K, IDS))] * 20,
        answers(FORMS[0][0], n=10) + answers(FORMS[1][0], n=10),
        answers(FORMS[0][0], contract=Contract(ids="number0")),
    ],
)
def test_nothing_is_said_of_others(given: list[Answered]) -> None:
    assert diagnosis(given) is None


def test_two_of_twenty_may_differ_and_only_some_are_looked_at() -> None:
    found = diagnosis(answers(FORMS[0][0], good=2))
    assert found is not None
    assert "90% are valid" in found
    many = diagnosis(answers(FORMS[0][0], n=950))
    assert many is not None
    assert "(95 looked at)" in many


def test_a_prompt_that_never_asks() -> None:
    hopeless = [Answered("I like the second", Terms(Contract(), K, IDS))] * 9
    found = diagnosis(hopeless, ["Which is best?"])
    assert found is not None
    assert "{{ contract.instruction }}" in found
    assert diagnosis(hopeless, ['Answer in "ranking".']) is None
    assert diagnosis(hopeless, ["Give Json"]) is None


def test_hostile_answers_are_looked_at_in_bounded_time() -> None:
    for text in (
        "[" * 50_000,
        '{"a":' * 50_000,
        "```" * 20_000,
        "</think>" * 5_000,
        '{"ranking": ' + "1" * 5000 + "}",
    ):
        assert diagnosis([Answered(text, Terms(Contract(), K, IDS))] * 9, marks=MARKS) is None


def test_contracts_that_the_further_schema_forbids_are_passed_by() -> None:
    """Two of three kinds of ids can't be written by this schema: looking for one that takes them goes on."""
    reasons = {"properties": {"reason": {"enum": ["fits", "other"]}}, "required": ["id", "reason"]}
    reasons["properties"]["id"] = {"type": "string", "pattern": "^B"}  # type: ignore[index]
    schema = {"properties": {"results": {"items": reasons}}}
    contract = Contract(ranking="$.results", ids="item_id", id_field="id", schema_=schema)

    def unknown(ranking: list[int]) -> Any:
        return {"results": [{"id": f"C{number}", "reason": "fits"} for number in ranking]}

    assert diagnosis(answers(unknown, contract=contract)) is None
