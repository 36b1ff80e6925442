"""The automaton against the parser, and the roles it gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import DEFAULT, ROLES, Contract, Terms, advance, is_complete, role, start
from tests.contract.answers import contracts, ks, near_answers, valid
from tests.contract.strict_oracle import strict_ranking
from tests.examples import examples

CASES = json.loads((Path(__file__).parents[1] / "cases" / "parse.json").read_text())
STRINGS = Contract(id_style="string")
EXTRA = Contract(extra_keys=True)


def roles(contract, text, k):
    """Role of every character of `text`; None from the first on that leaves the contract."""
    found, state = [], start(contract, k)
    for char in text:
        following = advance(state, char)
        if following is None:
            break
        found.append(role(state))
        state = following
    return tuple(found) + (None,) * (len(text) - len(found))


def advance_text(state, text):
    """State after all characters of a text, or None."""
    for char in text:
        if state is None:
            return None
        state = advance(state, char)
    return state


def accepts(contract, k, text):
    state = advance_text(start(contract, k), text)
    return state is not None and is_complete(state)


@given(near_answers())
@examples(1500)
def test_accepts_what_is_strict_and_nothing_else(answer):
    text, k, contract = answer
    expected = strict_ranking(text, k, contract.key, contract.ids, contract.extra_keys)
    assert accepts(contract, k, text) == (expected is not None)


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_accepts_the_strict_cases_and_no_others(case):
    contract = Contract(**case.get("contract", {}))
    is_strict = case["tier"] == "strict"
    assert accepts(contract, case["k"], case["input"]) == is_strict
    slow = strict_ranking(case["input"], case["k"], contract.key, contract.ids, contract.extra_keys)
    assert slow == (tuple(case["ranking"]) if is_strict else None)


@given(valid())
def test_accepts_every_spelling(answer):
    text, k, contract, _ = answer
    assert accepts(contract, k, text)


@given(near_answers())
@examples(400)
def test_a_state_that_is_not_none_can_be_completed(answer):
    text, k, contract = answer
    state, read = start(contract, k), ""
    for char in text:
        following = advance(state, char)
        if following is None:
            break
        state, read = following, read + char
    rest = completion(state, contract)
    assert strict_ranking(read + rest, k, contract.key, contract.ids, contract.extra_keys) is not None


def completion(state, contract):
    """Characters that complete an answer, taken without ever going back: there are no dead ends to leave."""
    key = json.dumps(contract.key)
    ahead = [key, *'"}],:[{', *"0123456789", *"abcdefghijklmnopqrstuvwxyz/\\😀é", *contract.key]
    rest = ""
    while not is_complete(state):
        piece, state = next(
            (piece, after) for piece in ahead if (after := advance_text(state, piece)) not in (None, state)
        )
        rest += piece
        assert len(rest) < 5000
    return rest


SHORT = {
    "open": "o",
    "key": "k",
    "colon": "c",
    "list_open": "l",
    "unused_id": "u",
    "separator": "s",
    "list_close": "x",
    "close": "z",
    "end": "e",
    None: "-",
}


@pytest.mark.parametrize(
    ("contract", "k", "text", "expected"),
    [
        (DEFAULT, 3, '{"ranking":[3,1,2]}', "okkkkkkkkkclususuxz"),
        (DEFAULT, 3, ' { "ranking" : [ 3 , 1 , 2 ] } \n', "oo" + "k" * 10 + "cclluussuussuuxxzzee"),
        (DEFAULT, 1, '{"ranking":[1]}', "okkkkkkkkkcluxz"),
        (DEFAULT, 3, '{"\\u0072anking":[1', "o" + "k" * 14 + "clu"),
        # After a 1 with 10 … 12 still there, the next character decides which id it is.
        (DEFAULT, 12, '{"ranking":[1,12,2', "okkkkkkkkkcl" + "uu" + "uus" + "u"),
        (DEFAULT, 12, '{"ranking":[12,11,10,1,2', "okkkkkkkkkcl" + "uus" + "uus" + "uus" + "us" + "u"),
        (DEFAULT, 3, '{"ranking":[3,3,1]}', "okkkkkkkkkclus-----"),
        (DEFAULT, 3, '{"ranking":[3,1,2,', "okkkkkkkkkclususu-"),
        (DEFAULT, 3, '{"ranking":[]}', "okkkkkkkkkcl--"),
        (DEFAULT, 3, '{"ranking":[3,1]', "okkkkkkkkkclusu-"),
        (DEFAULT, 3, '{"ranking":[4', "okkkkkkkkkcl-"),
        (DEFAULT, 3, '{"ranking":[3.0', "okkkkkkkkkclu--"),
        (DEFAULT, 3, "```json", "-------"),
        (DEFAULT, 3, '\ufeff{"ranking"', "-----------"),
        (DEFAULT, 3, '{"rank":', "okkkkk--"),
        (DEFAULT, 3, '{"ranking":[3,1,2]}}', "okkkkkkkkkclususuxz-"),
        (STRINGS, 3, '{"ranking":["3", "1"', "okkkkkkkkkcl" + "uuu" + "s" + "uuuu"),
        (STRINGS, 12, '{"ranking":["1","12"', "okkkkkkkkkcl" + "uuu" + "s" + "uuuu"),
        (STRINGS, 3, '{"ranking":["\\u0033",3', "okkkkkkkkkcl" + "u" * 8 + "s" + "-"),
        (EXTRA, 2, '{"a":{"b":1} , "ranking":[2,1]}', "o" + "k" * 23 + "clusuxz"),
        (EXTRA, 2, '{"ranking":[2,1],"a":12 }', "okkkkkkkkkclusuxz" + "kkk" + "kkk" + "kz"),
    ],
)  # fmt: skip
def test_role_of_each_character(contract, k, text, expected):
    assert "".join(SHORT[found] for found in roles(contract, text, k)) == expected


def test_every_role_occurs_in_a_plain_answer():
    assert set(roles(DEFAULT, Terms(DEFAULT, 8).example() + " ", 8)) == set(ROLES)


@pytest.mark.parametrize(
    ("contract", "k", "one", "other"),
    [
        (DEFAULT, 5, '{"ranking":[1,2,', ' {\n"r\\u0061nking" : [ 2 ,1, '),
        (DEFAULT, 5, '{"ranking":[1,2,3,4,5', '{"ranking":[5,4,3,2,1 '),
        (DEFAULT, 3, '{"ranking":[1,2,3]}', '{"ranking":[3,2,1]}\n'),
        (DEFAULT, 3, '{"ran\\u006', '{"ran\\u006'),
        (Contract(key="kk"), 3, '{"\\u006B', '{"k'),
        (STRINGS, 12, '{"ranking":["1', '{ "ranking":["\\u0031'),
        (EXTRA, 3, '{"a":"xyz', '{"a":"\\n'),
        (EXTRA, 3, '{"a":"\\u00', '{"a":"x\\u12'),
        (EXTRA, 3, '{"a":123', '{"a":-45'),
        (EXTRA, 3, '{"a":{"x":1,"y":[', '{"a":{"y":0, "x":[ '),
        (EXTRA, 3, '{"a":1,"ranking":[3,1,2]', '{"ranking":[1,2,3],"a":{}'),
    ],
)
def test_states_are_equal_when_nothing_can_tell_them_apart(contract, k, one, other):
    left, right = advance_text(start(contract, k), one), advance_text(start(contract, k), other)
    assert left is not None
    assert left == right
    assert hash(left) == hash(right)


def test_states_differ_by_the_ids_that_are_used():
    assert advance_text(start(DEFAULT, 5), '{"ranking":[1,') != advance_text(
        start(DEFAULT, 5), '{"ranking":[2,'
    )


@given(contracts, ks, st.data())
@examples(50)
def test_a_used_id_is_a_dead_end(contract, k, data):
    used = data.draw(st.permutations(range(1, k + 1)))[: data.draw(st.integers(1, k))]
    listed = json.dumps({contract.key: [Terms(contract, k).spell(n) for n in used]})[:-2]
    state = advance_text(start(contract, k), listed)
    assert state is not None
    again = f",{json.dumps(Terms(contract, k).spell(data.draw(st.sampled_from(used))))},"
    assert advance_text(state, again) is None


@pytest.mark.parametrize(("depth", "alive"), [(63, True), (64, False)])
def test_extra_values_nest_as_deep_as_the_parser_allows(depth, alive):
    assert (advance_text(start(EXTRA, 3), '{"a":' + "[" * depth) is not None) == alive
    assert (advance_text(start(EXTRA, 3), '{"a":' * (depth + 1)) is not None) == alive


def test_k_below_one_is_refused():
    with pytest.raises(ValueError, match="k must be at least 1"):
        start(DEFAULT, 0)


def test_many_candidates():
    k = 1234
    assert accepts(DEFAULT, k, Terms(DEFAULT, k).example())
    text = '{"ranking":[123'
    assert roles(DEFAULT, text + "4", k)[-3:] == ("unused_id",) * 3
    # 123 is complete, but 1230 … 1233 are left; nothing can follow 1234.
    assert roles(DEFAULT, text + "4,123,", k)[-4:] == ("unused_id",) * 4
    assert roles(DEFAULT, text + "4,", k)[-1] == "separator"
