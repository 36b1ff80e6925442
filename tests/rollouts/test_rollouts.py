"""Rollouts stored and read back, walked through the contract, and made into records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.contract import DEFAULT
from harness.contract.automaton import ROLES
from harness.contract.tokens import TokenClasses
from harness.errors import DataError
from harness.rollouts import Positions, Rollout, Walker, read_rollouts, write_rollouts
from tests.cliff.position_records import exact

WORDS = [b"{", b'"ranking"', b":", b"[", b"1", b"2", b",", b"]", b"}", b"x", None]
END = len(WORDS) - 1
WALKER = Walker(TokenClasses(WORDS, [END], DEFAULT))


def ids(words: str) -> tuple[int, ...]:
    """Token ids of words with blanks between; `.` is the end."""
    return tuple(END if word == "." else WORDS.index(word.encode()) for word in words.split())


def some_rollouts() -> list[Rollout]:
    """An answer that keeps the contract, one that leaves it at its second id, one that is cut off."""
    whole, broken, short = '{ "ranking" : [ 2 , 1 ] } .', '{ "ranking" : [ 2 , 2 ] } .', '{ "ranking" : ['
    return [
        Rollout(0, 0, 2, (1,), ids(whole), "stop", True),
        Rollout(0, 1, 2, (1,), ids(broken), "stop", False),
        Rollout(3, 0, 2, (1, 2), ids(short), "length", False),
    ]


def test_positions_go_as_far_as_the_contract_does() -> None:
    found = Positions.find(some_rollouts(), WALKER)
    assert [len(walk.roles) for walk in found.walks] == [10, 7, 4]
    assert found.tokens.tolist() == [*range(10), *range(10, 17), *range(20, 24)]
    assert np.flatnonzero(~found.members).tolist() == [16]
    assert found.cut.tolist() == [False] * 10 + [True] * 11
    assert found.step.tolist() == [*range(10), *range(7), *range(4)]
    assert found.task.tolist() == [0] * 17 + [3] * 4
    assert found.draw.tolist() == [0] * 10 + [1] * 7 + [0] * 4
    ids_at = [place for place, role in enumerate(found.role) if ROLES[role] == "unused_id"]
    assert found.index[ids_at].tolist() == [0, 1, 0, 1]
    assert np.flatnonzero(found.among(slice(10, 21))).tolist() == [*range(10, 18)]
    # Which id comes next is the ranking; behind the break nothing is structural.
    free = {*found.tokens[ids_at], 17, 18, 19}
    assert set(np.flatnonzero(~found.structural)) == free


def test_requests_and_records_are_of_the_walked_tokens() -> None:
    rollouts = some_rollouts()
    found = Positions.find(rollouts, WALKER)
    requests = found.score_requests(["a", "b", "c"])
    assert [one.key for one in requests] == ["a", "b", "c"]
    assert requests[1].completion_ids == rollouts[1].token_ids[:7]
    assert [len(one.classes) for one in requests] == [10, 7, 4]
    masses = exact(np.full(21, 0.1))
    records = found.records(masses, masses)
    assert records.roles == ROLES
    assert records.student is None
    assert records.reached()[ROLES.index("end")]
    assert records.rollout_of[1].tolist() == [0, 0, 3]


def test_stored_rollouts_are_read_back(tmp_path: Path) -> None:
    rollouts = some_rollouts()
    write_rollouts(tmp_path / "r.jsonl", rollouts)
    assert read_rollouts(tmp_path / "r.jsonl") == rollouts
    (tmp_path / "bad.jsonl").write_text('{"task": 1}\n')
    for name in ("bad.jsonl", "missing.jsonl"):
        with pytest.raises(DataError, match="stored rollouts"):
            read_rollouts(tmp_path / name)
