"""Rollouts stored and read back, walked through the contract, and made into records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.cliff import MassBounds
from harness.contract import DEFAULT, Terms
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
        Rollout(0, 0, Terms(DEFAULT, 2), (1,), ids(whole), "stop", True),
        Rollout(0, 1, Terms(DEFAULT, 2), (1,), ids(broken), "stop", False),
        Rollout(3, 0, Terms(DEFAULT, 2), (1, 2), ids(short), "length", False),
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


SPACED = [*WORDS, b" ", b"\n", b"rank", b'"', b"ing", b'":[', b",2"]
SPACED_WALKER = Walker(TokenClasses(SPACED, [END], DEFAULT))


def spaced(words: str) -> Rollout:
    """As `ids`, with `_` for a blank and `/` for a new line as tokens of their own."""
    names = {"_": b" ", "/": b"\n"}
    tokens = tuple(
        END if word == "." else SPACED.index(names.get(word, word.encode())) for word in words.split()
    )
    return Rollout(0, 0, Terms(DEFAULT, 2), (1,), tokens, "stop", True)


@pytest.mark.parametrize(
    ("words", "decisions"),
    [
        ('{ "ranking" : [ 2 , 1 ] } .', "0 1 2 3 4 5 6 7 8 9"),
        ('_ / { _ "ranking" _ : [ _ _ 2 _ , _ 1 ] / } _ .', "0 0 0 1 1 2 2 3 4 4 4 5 5 6 6 7 8 8 9 9"),
        ('{ " rank ing " : [ 2 , 1 ] } .', "0 1 1 1 1 2 3 4 5 6 7 8 9"),
        # A token that crosses into the next decision ends the one it began in.
        ('{ " rank ing ":[ 1 ,2 ] } .', "0 1 1 1 1 2 3 4 5 6"),
        ("{ _ x", "0 1 1"),
        ('{ "ranking" : [ 2 , _ 2', "0 1 2 3 4 5 6 6"),
        ("{ _", "0 1"),
    ],
)
def test_blanks_and_pieces_of_a_decision_are_one(words: str, decisions: str) -> None:
    found = Positions.find([spaced(words)], SPACED_WALKER)
    assert found.decision.tolist() == [int(one) for one in decisions.split()]
    assert found.step.tolist() == found.decision.tolist()


def test_a_comma_after_digits_that_might_go_on_begins_another_decision() -> None:
    """Of 12 candidates, 1 may become 10: which id it is ends with the comma, and the next id is another."""
    answer = Rollout(0, 0, Terms(DEFAULT, 12), (1,), ids('{ "ranking" : [ 1 , 2 , 1 2'), "length", False)
    walk = WALKER(answer.terms, answer.token_ids)
    assert walk.roles[4:] == ("unused_id", "unused_id", "unused_id", "separator", "unused_id", "unused_id")
    assert walk.decisions[4:] == (4, 4, 5, 6, 7, 7)
    assert walk.indices[4:] == (0, 0, 1, 0, 2, 2)


def test_the_mass_of_a_decision_is_the_product_of_its_tokens() -> None:
    """The same answer with and without blanks: a tail shared out over them comes back whole."""
    plain = Positions.find([spaced('{ "ranking" : [ 2 , 1 ] } .')] * 2, SPACED_WALKER)
    blanks = Positions.find([spaced('{ "ranking" : [ _ 2 _ _ , 1 ] } .')] * 2, SPACED_WALKER)
    tails = np.array([1e-3, 1e-9, 0.2, 0.6, 0.5, 3e-4, 1e-15, 0.1, 0.0, 0.01])
    shared = [1e-3, 1e-9, 0.2, 0.6, 0.0, 0.5, 1e-4, 1e-4, (1 - 3e-4) / (1 - 1e-4) ** 2, 1e-15, 0.1, 0.0, 0.01]
    shared[8] = 1 - shared[8]
    expected = plain.records(exact(np.tile(tails, 2)), exact(np.tile(tails, 2)))
    found = blanks.records(exact(np.tile(shared, 2)), exact(np.tile(shared, 2)))
    for name in ("task", "rollout", "role", "index", "step", "cut"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
    assert np.exp(found.teacher.low.log_tail) == pytest.approx(np.tile(tails, 2), rel=1e-10)
    assert found.base.low.log_mass == pytest.approx(np.log1p(-np.tile(tails, 2)), rel=1e-10)
    # And of some rollouts alone, as a minibatch has them.
    part = blanks.merged(exact(np.array(shared)), slice(13, 26))
    assert np.exp(part.low.log_tail) == pytest.approx(tails, rel=1e-10)


def test_bounds_of_a_decision_are_products_of_bounds() -> None:
    found = Positions.find([spaced("{ _ x")], SPACED_WALKER)
    seen = MassBounds.from_seen(np.log([0.9, 0.8, 0.7]), np.log([0.05, 0.1, 0.2]), rounding=0.0)
    merged = found.merged(seen)
    assert np.exp(merged.low.log_mass) == pytest.approx([0.9, 0.8 * 0.7])
    assert np.exp(merged.high.log_mass) == pytest.approx([0.95, 0.9 * 0.8])


def test_stored_rollouts_are_read_back(tmp_path: Path) -> None:
    rollouts = some_rollouts()
    write_rollouts(tmp_path / "r.jsonl", rollouts)
    assert read_rollouts(tmp_path / "r.jsonl", DEFAULT) == rollouts
    (tmp_path / "bad.jsonl").write_text('{"task": 1}\n')
    for name in ("bad.jsonl", "missing.jsonl"):
        with pytest.raises(DataError, match="stored rollouts"):
            read_rollouts(tmp_path / name, DEFAULT)
