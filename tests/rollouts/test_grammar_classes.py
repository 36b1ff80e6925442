"""Classes of next tokens from the grammar engine: against their definition, and against our automaton."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.contract import DEFAULT, Contract, Terms, judge
from harness.contract.tokens import TokenClasses
from harness.engines.vocabulary import Vocabulary
from harness.errors import HarnessError
from harness.rollouts import Walker, classes_identity, classes_of
from harness.rollouts.schema_grammar import UNSATISFIABLE, RefusedSchemaError, grammar_of
from tests.rollouts.mask_oracle import Case, Language, cases, disagreements

pytest.importorskip("llguidance", reason="the grammar engine comes with the extras hf, cpu and vllm")

from harness.rollouts.grammar_classes import GrammarClasses, GrammarState

BYTES = [*(bytes([byte]) for byte in range(256)), None]
END = 256
PIECES = [
    *BYTES, b'{"', b'":', b'": ', b'", "', b"},", b"}}", b"]}", b'"}', b"true", b"rue,", b"als", b"e}", b"12",
    b"1,", b" 2", b"0]", b'"ranking"', b'{"ranking": [', b"  ", b"\n\n", b'"a"', b'ab"', b"\\u00", b"\\u0061",
    b"61", b" \t", "é".encode(), b"}\n", b"1", b", {", b'{"id":', b'[{"', b"[]", b"null",
]  # fmt: skip
OF_BYTES = GrammarClasses(BYTES, [END])
OF_PIECES = GrammarClasses(PIECES, [END])
STATED = {
    # A string that a pattern holds isn't escaped where it needn't be.
    "short strings of a pattern": {"missing": {"\\"}},
}


def schema_terms(schema: Any) -> Terms:
    return Terms(Contract(kind="schema", schema=schema), 0)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_token_is_in_the_class_if_and_only_if_an_accepted_text_goes_on_with_it(case: Case) -> None:
    language = Language(case)
    for classes, vocabulary, states in ((OF_BYTES, BYTES, 8), (OF_PIECES, PIECES, 12)):
        judged, wrong = disagreements(
            language, classes, schema_terms(case.schema), vocabulary, END, states, seed=states
        )
        stated = STATED.get(case.name, {})
        assert judged > 8
        assert not [one for one in wrong if one[1][:1] not in stated.get(one[2], ())]


def walked(classes: Any, terms: Terms, text: str) -> tuple[list[tuple[str, str, bool]], GrammarState | None]:
    """Role of each byte and whether it leaves its decision open; the state at the end."""
    state, found = classes.start(terms), []
    for byte in text.encode():
        role = state.role
        state, still_open = classes.follow(state, byte)
        if state is None:
            return found, None
        found.append((chr(byte), role, still_open))
    return found, state


ENDLESS = {
    "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}},
    "$ref": "#/$defs/a",
}
SHORT = {
    "open": "o", "key": "k", "colon": "c", "value": "v", "separator": "s", "list_open": "l",
    "list_close": "z", "close": "x", "end": "e", "unused_id": "u",
}  # fmt: skip
CALL = {
    "type": "object",
    "properties": {
        "tool": {"enum": ["get", "put"]},
        "n": {"type": "integer", "minimum": 0, "maximum": 12},
        "of": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["tool"],
    "additionalProperties": False,
}
REASONS = Contract(
    ranking="$.r",
    id_field="id",
    schema={
        "properties": {
            "r": {
                "items": {
                    "properties": {"id": True, "why": {"type": "string"}},
                    "additionalProperties": False,
                }
            }
        }
    },
)


@pytest.mark.parametrize(
    ("terms", "text", "roles"),
    [
        (schema_terms(CALL), ' {"tool": "get","n":12}', "oo kkkkkk c vvvvvv x kkk c vv x"),
        (schema_terms(CALL), '{"n":1,"tool":"put"} ', "o kkk c v v kkkkkk c vvvvv x e"),
        (schema_terms(CALL), '{"of":["a" ,""]', "o kkkk c l vvv zz vv z"),
        (schema_terms({"type": "integer"}), "12 ", "vvv"),
        (schema_terms({"const": 7}), "7\n", "ve"),
        (schema_terms({}), '{"a":1}', "v kkk c v v"),
        (Terms(Contract(ranking="$"), 3), "[3, 1 ,2]", "l u s uu ss u z"),
        (Terms(Contract(ids="letter"), 2), '{"ranking":["B","A"]}', "o kkkkkkkkk c l uuu s uuu z x"),
        (
            Terms(REASONS, 2),
            '{"r":[{"why":"2","id":2},{"id":1}]}',
            "o kkk c l o kkkkk c vvv s kkkk c u x s o kkkk c u x z x",
        ),
    ],
)
def test_role_of_each_byte(terms: Terms, text: str, roles: str) -> None:
    found, state = walked(OF_BYTES, terms, text)
    assert state is not None
    assert "".join(SHORT[role] for _, role, _ in found) == roles.replace(" ", "")


def test_one_decision_however_many_tokens_it_is_written_in() -> None:
    found, _ = walked(OF_BYTES, schema_terms(CALL), '{ "tool" : "get","n": 12}')
    ends = "".join(char for char, _, still_open in found if not still_open)
    assert ends == '{":",":2}'  # the key and the value end with their quotes, the number where it can't go on
    crossing, still_open = OF_PIECES.follow(OF_PIECES.start(schema_terms(CALL)), PIECES.index(b'{"'))
    assert crossing is not None
    assert not still_open


@pytest.mark.parametrize("contract", [DEFAULT, Contract(ids="string")], ids=["numbers", "strings"])
@pytest.mark.parametrize("k", [3, 12])
def test_on_the_default_contract_it_says_what_our_automaton_says(contract: Contract, k: int) -> None:
    own = TokenClasses(PIECES, [END], contract)
    terms = Terms(contract, k)
    for text in (
        terms.answer(list(range(k, 0, -1))),
        ' {\n"ranking":[' + terms.answer(list(range(1, k + 1)))[13:],
    ):
        ours, theirs = own.start(terms), OF_PIECES.start(terms)
        for byte in text.encode():
            assert own.members(ours).tolist() == OF_PIECES.members(theirs).tolist()
            assert ours.role == theirs.role
            (ours, open_here), (theirs, open_there) = own.follow(ours, byte), OF_PIECES.follow(theirs, byte)  # type: ignore[assignment]
            assert open_here == open_there


@pytest.mark.parametrize(
    ("terms", "begun", "breaks"),
    [
        (schema_terms({"type": "object"}), '{"a":1,"a', '"'),
        (schema_terms({"type": "object"}), '{"a":1,"\\u0061', '"'),
        (Terms(Contract(ranking="$", ids="number0"), 12), "[11,1", "1"),
        (Terms(Contract(ranking="$", length={"top": 2}), 5), "[5,4", ","),
        (Terms(Contract(ids="item_id"), 2, ("ab", "ac")), '{"ranking":["ab","a', "b"),
        (Terms(REASONS, 3), '{"r":[{"id":3},{"id":', "3"),
        (schema_terms(True), "[" * 64, "["),
    ],
)
def test_what_no_grammar_says_is_taken_out(terms: Terms, begun: str, breaks: str) -> None:
    _, state = walked(OF_BYTES, terms, begun)
    assert state is not None
    assert not OF_BYTES.is_member(state, ord(breaks))
    assert OF_BYTES.members(state).size


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"not": {"type": "string"}}, 'Unimplemented keys: ["not"]'),
        ({"type": "string", "pattern": "(?=a)b|."}, "look-around"),
    ],
)
def test_schemas_without_classes_are_refused_with_the_reason(schema: Any, said: str) -> None:
    with pytest.raises(HarnessError, match="no classes of next tokens") as refused:
        OF_BYTES.start(Terms(Contract(kind="schema", schema="row"), 0, (), json.dumps(schema)))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("schema", [False, {"type": "integer", "minimum": 3, "maximum": 2}, ENDLESS])
def test_of_what_nothing_satisfies_there_is_no_grammar(schema: Any) -> None:
    with pytest.raises(RefusedSchemaError, match="nothing satisfies"):
        grammar_of(schema, lambda _: UNSATISFIABLE)


def test_states_are_made_once_and_found_again_after_another_way() -> None:
    terms = schema_terms(CALL)
    first, _ = OF_PIECES.follow(OF_PIECES.start(terms), PIECES.index(b'{"'))
    again, _ = OF_PIECES.follow(OF_PIECES.start(terms), PIECES.index(b'{"'))
    assert first is again
    assert first is not None
    for way in (b"tool", b"n", b"of"):
        state: GrammarState | None = first
        for byte in way + b'":':
            assert state is not None
            state, _ = OF_PIECES.follow(state, byte)
        assert state is not None
        assert OF_PIECES.members(state).size
    assert OF_PIECES.members(first) is OF_PIECES.members(again)


def test_tokens_of_the_same_bytes_are_all_members() -> None:
    state = OF_PIECES.start(schema_terms({"const": 1}))
    same = [number for number, one in enumerate(PIECES) if one == b"1"]
    assert len(same) == 2
    for one in same:
        assert OF_PIECES.is_member(state, one)
        following, _ = OF_PIECES.follow(state, one)
        assert following is not None
        assert OF_PIECES.is_member(following, END)


def test_a_walk_ends_with_the_token_that_leaves_the_contract() -> None:
    walker = Walker(OF_BYTES)
    whole = walker(schema_terms(CALL), [*b'{"tool":"get"}', END])
    assert whole.finished
    assert whole.roles[-1] == "end"
    broken = walker(schema_terms(CALL), [*b'{"tool":"got"}', END])
    assert not broken.members[-1]
    assert len(broken.roles) == len(b'{"tool":"go')


def test_classes_of_a_contract_and_what_identifies_them() -> None:
    vocabulary = Vocabulary("v", tuple(BYTES), tuple("x" for _ in BYTES), (END,), "hash", "file")
    assert isinstance(classes_of(vocabulary, DEFAULT), TokenClasses)
    listing = Contract(ids="item_id")
    assert isinstance(classes_of(vocabulary, listing), GrammarClasses)
    said = {
        classes_identity(vocabulary, contract, [terms])
        for contract, terms in (
            (DEFAULT, Terms(DEFAULT, 2)),
            (DEFAULT, Terms(DEFAULT, 3)),
            (listing, Terms(listing, 2, ("a", "b"))),
            (listing, Terms(listing, 2, ("b", "a"))),
        )
    }
    assert len(said) == 3  # of the default contract the classes go by K, which the rollouts tell


def test_members_lead_to_texts_that_the_strict_parser_accepts() -> None:
    terms = Terms(REASONS, 2)
    text = '{"r": [{"why": "x", "id": 2}, {"id": 1}]}'
    assert judge(text, terms).tier == "strict"
    _, state = walked(OF_BYTES, terms, text)
    assert state is not None
    assert OF_BYTES.is_member(state, END)
    assert json.loads(text)


def test_what_classes_leave_out_is_told() -> None:
    wide = {
        "properties": {"a": {"type": "array", "uniqueItems": True}, "b": {"oneOf": [{"type": "null"}, {}]}}
    }
    assert OF_BYTES.unsaid(Terms(Contract(kind="schema", schema=wide), 0)) == (
        "oneOf (read as anyOf)",
        "uniqueItems",
    )
    # Of a ranking our own part says that no id comes twice.
    assert OF_BYTES.unsaid(Terms(Contract(ranking="$", ids="letter"), 3)) == ()
    assert TokenClasses(BYTES, [END], Contract()).unsaid(Terms(Contract(), 3)) == ()


def test_references_are_percent_decoded() -> None:
    schema = {"$ref": "#/$defs/a%20b", "$defs": {"a b": {"const": 7}}}
    terms = Terms(Contract(kind="schema", schema=schema), 0)
    state = OF_BYTES.start(terms)
    assert [
        bytes(BYTES[one] or b"") for one in OF_BYTES.members(state) if bytes(BYTES[one] or b"").strip()
    ] == [b"7"]
