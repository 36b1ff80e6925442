"""What stands in answers and not in their texts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.runs.hidden_tokens import HiddenTokens

OPTIONS = {
    "stop_token_ids": [0],
    "special_tokens": {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2, "<think>": 3, "<pad>": 4},
    "vocabulary": 100,
}


def counted(answers: list[tuple[tuple[int, ...], str | None]], options: Any = OPTIONS) -> HiddenTokens:
    found = HiddenTokens(SimpleNamespace(engine=SimpleNamespace(options=options)))  # type: ignore[arg-type]
    for ids, code in answers:
        found.add(SimpleNamespace(token_ids=ids, parse=SimpleNamespace(code=code)))  # type: ignore[arg-type]
    return found


def test_an_end_token_that_nobody_stops_at_is_named_with_its_id() -> None:
    said = counted([((7, 2, 8), "truncated")] * 23 + [((9, 2, 2, 0), "not_json")]).remark()
    assert said is not None
    assert said.startswith("`<|im_end|>` stands in 24 of 24 answers and isn't a stop token")
    assert "add its id 2 to `eos_token_id`" in said


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ((3, 7), "`<think>` stands in 1 of 2 answers (texts"),
        ((1, 7), "`<|im_start|>` stands in 1 of 2 answers (texts"),
        ((4, 4), "`<pad>` stands in 1 of 2 answers (texts"),
        ((99, 100), "ids beyond the tokenizer's vocabulary stand in 1 of 2 answers (texts"),
        ((7, 99, 0), None),
        ((), None),
    ],
)
def test_each_kind_is_said_once_an_answer(ids: tuple[int, ...], said: str | None) -> None:
    found = counted([(ids, "not_json"), ((7, 0), None)])
    remark = found.remark()
    assert remark is None if said is None else str(remark).startswith(said)
    assert found.answers == 2


def test_what_does_no_harm_is_left_alone() -> None:
    """Thoughts before answers that all parse, or in others than those that fail."""
    assert counted([((3, 7, 0), None)] * 5).remark() is None
    assert counted([((3, 7, 0), None), ((7, 0), "not_json")]).remark() is None
    mixed = counted([((3, 7, 0), None), ((3, 0), "not_json")])
    assert mixed.counts == {"<think>": 2}


def test_many_are_summed_up_and_old_runs_say_nothing() -> None:
    options = OPTIONS | {"special_tokens": {f"<{n}>": n for n in range(10, 20)}}
    said = counted([(tuple(range(10, 20)), "not_json")], options).remark()
    assert "so do 7 other special tokens" in str(said)
    for none in ({}, {"special_tokens": None, "stop_token_ids": "x", "vocabulary": None}):
        assert counted([((2, 7), "truncated")], none).remark() is None
