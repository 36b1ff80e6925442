"""The equivalence class of a position against its definition: does some valid answer go on like that?"""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import Contract, Terms
from harness.contract.tokens import TokenClasses
from tests.examples import examples

END = 0
PIECES = [
    None, b"{", b"}", b'"', b"ranking", b"rank", b"ing", b'{"', b'":', b": [", b"[", b"]", b"]}", b", ",
    b",", b" ", b"\n", b"\n\n", b"\t", b"1", b"2", b"3", b"12", b"1,", b" 2", b"10", b", 3", b"\\u0072",
    b"\\", b"u0072", b"x", b"```", b"json", b"true", b"0", b"-", b".0", b"1]", b'{"ranking": [', b"}\n",
    b"\xc3", b"\xa9", "é".encode(), b"\xef\xbb\xbf",
]  # fmt: skip


def is_valid(text: str, key: str, k: int) -> bool:
    """Strict validity by `json.loads` alone; an object comes as its list of pairs."""
    try:
        pairs = json.loads(text.strip(" \t\n\r"), object_pairs_hook=lambda found: ("object", found))
    except ValueError:
        return False
    if not isinstance(pairs, tuple) or len(pairs[1]) != 1 or pairs[1][0][0] != key:
        return False
    ids = pairs[1][0][1]
    if not isinstance(ids, list):
        return False
    return all(type(number) is int for number in ids) and sorted(ids) == list(range(1, k + 1))


def completable(prefix: str, contract: Contract, k: int) -> bool:
    """Slow oracle for K ≤ 3 and the default spelling: some spelled-out answer begins with this text.

    Tries, without the automaton, every suffix of every canonical answer after the prefix.
    """
    from itertools import permutations

    escaped = "".join(f"\\u{ord(char):04x}" for char in contract.key)
    for order in permutations(range(1, k + 1)):
        for text in (
            f'{{"{escaped}": {list(order)}}}',
            json.dumps({contract.key: list(order)}, ensure_ascii=False),
            json.dumps({contract.key: list(order)}),
            json.dumps({contract.key: list(order)}, separators=(",", ":"), ensure_ascii=False),
        ):
            for cut in range(len(text) + 1):
                # The prefix may hold escapes or white space of its own; only the suffix is of these four.
                if is_valid(prefix + text[cut:], contract.key, k):
                    return True
    return False


@pytest.mark.parametrize(
    ("contract", "k"),
    [(Contract(), 2), (Contract(), 3), (Contract(key="é1"), 2)],
    ids=["default-2", "default-3", "accented-2"],
)
def test_members_are_the_tokens_that_can_be_completed(contract: Contract, k: int) -> None:
    classes = TokenClasses(PIECES, [END], contract)
    rng = random.Random(5)
    compared = 0
    for _ in range(4 if k == 2 else 1):
        state, text = classes.start(Terms(contract, k)), b""
        while True:
            members = classes.members(state)
            for token_id, content in enumerate(PIECES):
                if content is None:
                    continue
                try:
                    prefix = (text + content).decode()
                except UnicodeDecodeError:
                    continue
                assert (token_id in members) == completable(prefix, contract, k), (prefix, token_id)
                compared += 1
            choices = [token_id for token_id in members if token_id != END]
            if not choices or len(text) > 40 or END in members:
                break
            token_id = int(rng.choice(choices))
            text += PIECES[token_id] or b""
            following = classes.advance(state, token_id)
            assert following is not None
            state = following
        if compared > 4000:
            break
    assert compared > 200


@given(order=st.permutations(range(1, 13)), cuts=st.lists(st.integers(1, 5), min_size=60, max_size=60))
@examples(50)
def test_a_valid_answer_stays_in_its_classes_however_it_is_cut(order: list[int], cuts: list[int]) -> None:
    text = json.dumps({"ranking": list(order)}).encode()
    pieces, at = [], 0
    for width in cuts:
        if at < len(text):
            pieces.append(text[at : at + width])
            at += width
    if at < len(text):
        pieces.append(text[at:])
    vocabulary = [None, *dict.fromkeys(pieces)]
    classes = TokenClasses(vocabulary, [END], Contract())
    state = classes.start(Terms(Contract(), 12))
    for piece in pieces:
        token_id = vocabulary.index(piece)
        assert token_id in classes.members(state)
        assert classes.is_member(state, token_id)
        following = classes.advance(state, token_id)
        assert following is not None
        state = following
    assert END in classes.members(state)
    assert classes.is_member(state, END)
    assert state.role == "end"


def test_used_ids_leave_the_class() -> None:
    classes = TokenClasses(PIECES, [END], Contract())
    state = classes.start(Terms(Contract(), 3))
    for piece in (b'{"ranking": [', b"1", b", "):
        following = classes.advance(state, PIECES.index(piece))
        assert following is not None
        state = following
    assert state.role == "unused_id"
    spelled = {PIECES[token_id] for token_id in classes.members(state)}
    assert {b"2", b"3", b" ", b"\n", b" 2"} <= spelled
    assert not {b"1", b"12", b"1,", b"10", b"]", b","} & spelled


def test_special_tokens_and_ends_are_in_no_class_before_the_end() -> None:
    classes = TokenClasses([*PIECES, None], [END], Contract())
    state = classes.start(Terms(Contract(), 2))
    assert END not in classes.members(state)
    assert len(PIECES) not in classes.members(state)
    assert classes.advance(state, END) is None
    assert classes.advance(state, 10**9) is None
