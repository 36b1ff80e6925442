"""Listwise contracts of any envelope: strict and its codes, against jsonschema and the mutation made."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import FAILURE_CODES, Contract, Terms, decoded, judge, parse
from harness.contract.member_path import members_of, path_of
from harness.errors import HarnessError
from tests.contract.answers import any_text, edited, json_values, soup
from tests.contract.envelopes import array_of, envelopes, kept
from tests.examples import examples

CASES = json.loads((Path(__file__).parents[1] / "cases" / "contracts.json").read_text())
STRICT_INTEGERS = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, one: type(one) is int
    ),
)
ANSWERS = envelopes().flatmap(lambda terms: st.tuples(st.just(terms), kept(terms)))


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    result = parse(
        case["input"],
        case.get("k", 0),
        Contract(**case["contract"]),
        item_ids=case.get("item_ids", ()),
        schema=case.get("row"),
    )
    ranking = tuple(case["ranking"]) if case.get("ranking") else None
    assert (result.tier, result.code, result.path, result.ranking) == (
        case["tier"],
        case.get("code"),
        case.get("path"),
        ranking,
    )


def keeps_the_schema(value: Any, terms: Terms) -> bool:
    """What jsonschema says, and that no candidate is listed twice."""
    if not STRICT_INTEGERS(terms.json_schema()).is_valid(value):
        return False
    ids = array_of(value, terms)
    if terms.contract.id_field is not None:
        ids = [one[terms.contract.id_field] for one in ids]
    return len(set(ids)) == len(ids)


@given(ANSWERS)
@examples(250)
def test_any_order_in_any_envelope_is_strict_with_its_ranking(answer) -> None:
    terms, (value, ranking) = answer
    assert keeps_the_schema(value, terms)
    result = judge(f" {json.dumps(value)}\n", terms)
    assert (result.tier, result.code, result.ranking) == ("strict", None, tuple(ranking))
    assert decoded(json.dumps(value)) == value
    assert judge(f"so: {json.dumps(value)}.", terms).tier == "lenient"


@given(envelopes())
@examples(100)
def test_example_and_instruction_keep_the_contract(terms: Terms) -> None:
    example = terms.example()
    assert example is not None
    assert judge(example, terms).tier == "strict"
    assert example in terms.instruction()
    jsonschema.Draft202012Validator.check_schema(terms.json_schema())
    jsonschema.Draft202012Validator.check_schema(terms.engine_schema())
    assert Contract.model_validate(json.loads(terms.contract.model_dump_json())) == terms.contract


@given(ANSWERS, st.data())
@examples(300)
def test_one_mutation_gives_its_code(answer, data) -> None:
    terms, (kept_value, _) = answer
    contract, value = terms.contract, copy.deepcopy(kept_value)
    ids, field = array_of(value, terms), terms.contract.id_field
    place = data.draw(st.integers(0, len(ids) - 1))

    def exchange(one: Any) -> None:
        if field is None:
            ids[place] = one
        else:
            ids[place][field] = one

    mutations = ["wrong_id_type", "wrong_length", "unknown_id", "wrong_type"]
    mutations += ["duplicate_id"] * (len(ids) > 1) + ["missing_key"] * bool(contract.members)
    mutations += ["extra_key"] * bool(contract.members and not contract.extra_keys)
    mutations += ["wrong_value"] * bool(field and contract.schema_)
    code = data.draw(st.sampled_from(mutations))
    match code:
        case "wrong_id_type":
            exchange(data.draw(st.sampled_from([True, 1.0, None, [], {}])))
        case "wrong_length":
            ids.pop()
        case "unknown_id":
            exchange(-1 if isinstance(terms.spell(1), int) else "nobody")
        case "wrong_type":
            value = "x" if not contract.members else {**value, contract.members[0]: "x"}
        case "duplicate_id":
            exchange(ids[place - 1] if field is None else ids[place - 1][field])
        case "missing_key":
            del value[contract.members[0]]
        case "extra_key":
            value["zzz"] = 1
        case "wrong_value":
            ids[place]["reason"] = ""
    result = judge(json.dumps(value), terms)
    assert not keeps_the_schema_or_none(value, terms)
    assert (result.code, result.tier) == (code, "none")
    assert result.path is not None
    assert result.path.startswith("$")


def keeps_the_schema_or_none(value: Any, terms: Terms) -> bool:
    return STRICT_INTEGERS(terms.json_schema()).is_valid(value) and keeps_the_schema(value, terms)


@given(ANSWERS, st.data())
@examples(250)
def test_the_oracle_agrees_on_values_that_were_changed_anywhere(answer, data) -> None:
    terms, (kept_value, _) = answer
    value = copy.deepcopy(kept_value)
    ids = array_of(value, terms)
    for _ in range(data.draw(st.integers(0, 2))):
        other = st.one_of(json_values, st.sampled_from([terms.spell(1), terms.spell(terms.k)]))
        place = data.draw(st.integers(0, len(ids)))
        ids[place : place + data.draw(st.integers(0, 1))] = [data.draw(other)] * data.draw(st.integers(0, 1))
    assert (judge(json.dumps(value), terms).tier == "strict") == keeps_the_schema_or_none(value, terms)


@given(envelopes(), st.data())
@examples(250)
def test_no_text_raises(terms: Terms, data) -> None:
    example = terms.example() or ""
    text = data.draw(st.one_of(edited(example), soup, any_text))
    result = judge(text, terms, finish_reason=data.draw(st.sampled_from([None, "length"])))
    assert (result.code is None) == (result.tier == "strict")
    assert result.code is None or result.code in FAILURE_CODES
    assert result.message is None or (len(result.message) <= 200 and result.message.isascii())
    if result.ranking is not None:
        assert len(set(result.ranking)) == terms.listed
        assert set(result.ranking) <= set(range(1, terms.k + 1))


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), max_size=3))
def test_a_path_is_read_as_it_is_written(members: list[str]) -> None:
    assert members_of(path_of(members)) == tuple(members)


@pytest.mark.parametrize(
    ("path", "members"),
    [("$", ()), ("$.a.b", ("a", "b")), ("$['a'][\"b c\"]", ("a", "b c")), ("$.résumé", ("résumé",))],
)
def test_paths_may_be_spelled_otherwise(path: str, members: tuple[str, ...]) -> None:
    assert Contract(ranking=path).members == members


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ranking": "order"}, "begins with"),
        ({"ranking": "$.a[0]"}, "expected a member"),
        ({"ranking": "$..a"}, "expected a member"),
        ({"ranking": "$.*"}, "expected a member"),
        ({"ranking": '$[""]'}, "can't be empty"),
        ({"ids": "numbers"}, "ids=numbers"),
        ({"length": 3}, "`all` or"),
        ({"length": {"top": 0}}, "length.top=0"),
        ({"schema": "row"}, "for kind schema"),
        ({"schema": {"properties": {"ranking": {"type": "string"}}}}, "no answer can keep both"),
        ({"schema": {"additionalProperties": False}}, "no answer can keep both"),
        ({"schema": {"properties": {"ranking": {"items": {"type": "string"}}}}}, "no answer can keep both"),
        ({"key": "a", "ranking": "$.b"}, "older words"),
        ({"kind": "schema"}, "needs `schema=`"),
        ({"kind": "schema", "schema": {}, "ids": "letter"}, "`ids=` is for kind listwise"),
    ],
)
def test_a_contract_that_nobody_can_keep_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(HarnessError) as raised:
        Contract(**wrong)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("contract", "k", "ids", "says"),
    [
        ({"ids": "letter"}, 101, (), "at most 100"),
        ({"ids": "item_id"}, 2, ("a", "a"), 'have the item id "a"'),
        ({"ids": "item_id"}, 2, ("a",), "1 item ids for 2"),
        ({"schema": {"properties": {"ranking": {"maxItems": 2}}}}, 3, (), "no answer can keep both"),
    ],
)
def test_a_task_to_which_no_answer_is_possible_is_refused(contract, k, ids, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Terms(Contract(**contract), k, ids)


def test_letters_go_on_after_z() -> None:
    letters = [Terms(Contract(ids="letter"), 100).spell(number) for number in (1, 26, 27, 52, 53, 100)]
    assert letters == ["A", "Z", "AA", "AZ", "BA", "CV"]


def test_a_hundred_objects_with_reasons_have_an_example() -> None:
    elements = {
        "items": {"properties": {"reason": {"type": "string", "pattern": "^[A-Z]"}}, "required": ["reason"]}
    }
    contract = Contract(ids="item_id", id_field="id", schema={"properties": {"ranking": elements}})
    terms = Terms(contract, 100, tuple(f"item-{number}" for number in range(100)))
    example = terms.example()
    assert example is not None
    assert judge(example, terms).tier == "strict"
