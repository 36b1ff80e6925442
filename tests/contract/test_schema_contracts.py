"""Contracts of kind schema: verdicts against jsonschema, schemas that are refused, texts made to hurt."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import FAILURE_CODES, Contract, Terms, judge, parse
from harness.errors import HarnessError
from tests.contract.answers import any_text, edited, json_values, soup
from tests.examples import examples

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared")) / "data" / "jsonschemabench"
TREE = {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"type": "array", "items": {"$ref": "#"}}}}
SCHEMAS: list[Any] = [
    {},
    {"type": ["integer", "null"], "minimum": 2},
    {"type": "string", "pattern": "^a|b", "maxLength": 2},
    {"type": "array", "items": {"type": "number"}, "uniqueItems": True, "contains": {"const": 1}},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["b"]},
    {"type": "object", "properties": {"a": {}}, "additionalProperties": False, "minProperties": 1},
    {"anyOf": [{"type": "string"}, {"type": "object", "required": ["a"]}]},
    {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 3}, {"type": "null"}]},
    {"not": {"type": "object"}, "if": {"type": "array"}, "then": {"maxItems": 1}},
    {"prefixItems": [{"type": "boolean"}], "unevaluatedItems": False},
    {"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
    {"propertyNames": {"maxLength": 1}, "dependentRequired": {"a": ["b"]}},
    {"enum": [1, "a", None, [], {"a": 1}]},
    {"additionalProperties": {"type": ["integer", "array"], "items": {"type": "integer"}}},
    TREE,
]


def terms_of(schema: Any) -> Terms:
    return Terms(Contract(kind="schema", schema=schema), 0)


@given(st.sampled_from(SCHEMAS), json_values)
@examples(400)
def test_strict_is_what_jsonschema_calls_valid(schema: Any, value: Any) -> None:
    result = judge(json.dumps(value), terms_of(schema))
    assert (result.tier == "strict") == jsonschema.Draft202012Validator(schema).is_valid(value)
    if result.code is not None:
        assert result.code in ("wrong_type", "missing_key", "extra_key", "wrong_value")
        assert result.path is not None
        assert result.path.startswith("$")
        assert 0 < len(str(result.message)) <= 200
        assert str(result.message).isascii()
    assert result.ranking is None


@given(st.sampled_from(SCHEMAS), st.one_of(soup, any_text, json_values.map(json.dumps).flatmap(edited)))
@examples(300)
def test_no_text_raises(schema: Any, text: str) -> None:
    result = judge(text, terms_of(schema))
    assert (result.code is None) == (result.tier == "strict")
    assert result.code is None or result.code in FAILURE_CODES
    assert result.tier != "repaired"


def test_real_schemas_say_of_real_instances_what_is_given() -> None:
    """All but formats, which are annotations here."""
    if not REAL.is_dir():
        pytest.skip("needs shared/data/jsonschemabench beside the checkout")
    others, instances = [], 0
    with gzip.open(REAL / "schemas.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        terms = terms_of(row["schema"])
        example = terms.example()
        assert example is None or judge(example, terms).tier == "strict"
        for test in row["tests"]:
            instances += 1
            if (judge(json.dumps(test["data"]), terms).tier == "strict") != test["valid"]:
                others.append((row["name"], test["valid"], "format" in json.dumps(row["schema"])))
    assert instances > 500
    assert len(others) <= 11
    assert all(not valid and has_format for _, valid, has_format in others)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (False, "no answer can keep it"),
        ({"type": "string", "enum": [1, 2]}, "no answer can keep it"),
        ({"type": "object", "required": ["n"], "properties": {"n": {"$ref": "#"}}}, "can keep it"),
        (
            {
                "type": "object",
                "required": ["a"],
                "properties": {"a": {"minimum": 3, "maximum": 2, "type": "integer"}},
            },
            "nothing fits at #/properties/a",
        ),
        ({"type": "strin"}, "is no JSON Schema at #/type"),
        ({"properties": {"a": {"pattern": "["}}}, "at #/properties/a/pattern"),
        ({"$ref": "https://example.com/a.json"}, "nothing is fetched"),
        ({"$ref": "file:///etc/passwd"}, "nothing is fetched"),
        ({"$ref": "#/$defs/none"}, "what isn't there"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "draft that isn't known"),
        ("no schema at all", "neither a JSON Schema"),
        ([], "schema="),
    ],
)
def test_a_schema_that_nobody_can_be_held_to_is_refused_in_a_line(schema: Any, says: str) -> None:
    with pytest.raises(HarnessError) as raised:
        terms_of(schema)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_a_task_without_its_schema_or_with_a_bad_one_is_refused() -> None:
    contract = Contract(kind="schema", schema="row")
    with pytest.raises(ValueError, match="this task has none"):
        Terms(contract, 0)
    with pytest.raises(ValueError, match="nothing is fetched"):
        Terms(contract, 0, (), '{"$ref": "https://example.com/a.json"}')
    assert parse("3", 0, contract, schema={"type": "integer"}).tier == "strict"


def test_a_megabyte_of_schema_and_nesting_too_deep() -> None:
    large = {f"p{i}": {"type": "string", "maxLength": 30, "description": "x" * 200} for i in range(4000)}
    terms = terms_of({"type": "object", "properties": large})
    assert len(terms.whole_schema or "") > 1_000_000
    assert judge('{"p3": "x"}', terms).tier == "strict"
    assert judge('{"p3": 3}', terms).path == "$.p3"
    deep: Any = {"type": "integer"}
    for _ in range(300):
        deep = {"items": deep}
    with pytest.raises(HarnessError, match="nests too deep"):
        terms_of(deep)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(["x"] * 50_000),
        json.dumps({str(i): i for i in range(50_000)}),
        "[" * 63 + "]" * 63,
        "[" * 200_000,
        '{"a":' * 100_000,
        '"' + "a" * 100_000 + '!"',
        '"\\ud800"',
        "1e400",
        "9" * 5000,
        '"' * 100_001,
        "1 " * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_texts_made_to_hurt(text: str) -> None:
    for schema in (
        {"type": "array", "items": {"type": "integer"}},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "string", "pattern": "^(a+)+$"},
        {"pattern": r"^(?=(a|aa)+$)\w"},
        {"items": {"$ref": "#"}},
    ):
        assert judge(text, terms_of(schema)).tier in ("strict", "lenient", "none")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"1": "x", "a": "y"}', '$["1"]'),
        ('{"01": "x"}', '$["01"]'),
        ('{"": "x", "a": 1}', '$[""]'),
        ('{"": ["a"], "x": ["b"]}', '$[""][0]'),
        ('{"1": [2, "x"], "01": 3}', '$["1"][1]'),
        ('{"+1": "x", "1": 1}', '$["+1"]'),
    ],
)
def test_keys_of_digits_and_empty_ones_are_named(text: str, path: str) -> None:
    """jsonschema-rs takes the former for indices and leaves the latter out of its paths."""
    schema = {"additionalProperties": {"type": ["integer", "array"], "items": {"type": "integer"}}}
    assert judge(text, terms_of(schema)).path == path


def test_a_forbidden_key_of_digits_is_an_extra_key() -> None:
    result = judge('{"1": 2}', terms_of({"properties": {"1": False}}))
    assert (result.code, result.path) == ("extra_key", '$["1"]')
