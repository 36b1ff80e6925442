"""The contract's prompt sentence and schemas."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given

from harness.contract import DEFAULT, Contract, Terms, parse
from harness.errors import HarnessError
from tests.contract.answers import contracts, ks


@given(contracts, ks)
def test_the_example_in_the_instruction_keeps_the_contract(contract, k):
    example = Terms(contract, k).example()
    assert parse(example, k, contract).tier == "strict"
    assert Terms(contract, k).instruction().endswith(example)
    assert json.dumps(contract.key, ensure_ascii=False) in Terms(contract, k).instruction()
    assert str(k) in Terms(contract, k).instruction()


@pytest.mark.parametrize("k", range(2, 65))
def test_the_example_is_not_the_order_of_the_candidates(k):
    ids = json.loads(Terms(DEFAULT, k).example())["ranking"]
    assert ids != sorted(ids)
    assert k < 4 or ids != sorted(ids, reverse=True)


@given(contracts, ks)
def test_the_schema_is_a_schema_and_the_engines_differs_only_where_it_must(contract, k):
    schema, engine = Terms(contract, k).json_schema(), Terms(contract, k).engine_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema.pop("$schema").endswith("2020-12/schema")
    assert schema["properties"][contract.key].pop("uniqueItems") is True
    assert schema == engine


def test_engine_schema_of_the_default():
    assert Terms(DEFAULT, 8).engine_schema() == {
        "type": "object",
        "properties": {
            "ranking": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1, "maximum": 8},
                "minItems": 8,
                "maxItems": 8,
            }
        },
        "required": ["ranking"],
        "additionalProperties": False,
    }


def test_a_key_named_like_a_keyword_stays():
    contract = Contract(key="uniqueItems")
    assert set(Terms(contract, 3).engine_schema()["properties"]) == {"uniqueItems"}


@pytest.mark.vllm
@pytest.mark.parametrize("id_style", ["integer", "string"])
@pytest.mark.parametrize("extra_keys", [False, True])
def test_vllms_backends_take_the_engine_schema(id_style, extra_keys):
    pytest.importorskip("vllm")
    from vllm.v1.structured_output.backend_guidance import has_guidance_unsupported_json_features
    from vllm.v1.structured_output.backend_xgrammar import has_xgrammar_unsupported_json_features, xgr

    contract = Contract(id_style=id_style, extra_keys=extra_keys)
    schema = Terms(contract, 8).engine_schema()
    assert has_xgrammar_unsupported_json_features(Terms(contract, 8).json_schema())
    assert not has_xgrammar_unsupported_json_features(schema)
    assert not has_guidance_unsupported_json_features(schema)
    assert xgr.Grammar.from_json_schema(json.dumps(schema)) is not None


@pytest.mark.parametrize(
    "wrong", [{"key": ""}, {"id_style": "float"}, {"extra": True}, {"key": "\ud800"}, {"key": 3}]
)
def test_a_contract_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(HarnessError, match=next(iter(wrong))):
        Contract(**wrong)


def test_k_below_one_is_refused():
    with pytest.raises(ValueError, match="k must be at least 1"):
        Terms(DEFAULT, 0)


def test_what_earlier_versions_wrote_is_the_same_contract_and_hashes_the_same():
    old = {"key": "the order", "id_style": "string", "extra_keys": True}
    contract = Contract.model_validate(old)
    assert (contract.ranking, contract.key, contract.ids) == ('$["the order"]', "the order", "string")
    assert json.loads(contract.said_before()) == old
    assert DEFAULT.said_before() == '{"key":"ranking","id_style":"integer","extra_keys":false}'
    assert Contract.model_validate(json.loads(DEFAULT.said_before())) == DEFAULT
    assert json.loads(Contract(ids="letter").said_before())["ids"] == "letter"
