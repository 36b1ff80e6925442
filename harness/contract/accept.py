"""The quick yes: does a decoded value keep the contract?"""

from __future__ import annotations

from functools import lru_cache

from harness.contract.model import Contract
from harness.contract.schemas import keeps
from harness.contract.spelling import numbers_of
from harness.contract.terms import Terms

_INTEGERS = {int}
_STRINGS = {str}


def plain_ranking(value: object, k: int, contract: Contract) -> tuple[int, ...] | None:
    """The ranking in a decoded value, or None when the value breaks the contract.

    Says the same as a jsonschema validator of the contract's schema in which 3.0 is no integer.

    Args:
        value: what a JSON decoder made.
        k: number of candidates, ≥ 1.
        contract: what the value is held to; `is_plain`.

    Returns:
        Candidate numbers 1…k, best first.
    """
    if not isinstance(value, dict) or (len(value) != 1 and not contract.extra_keys):
        return None
    ids = value.get(contract.key)
    if not isinstance(ids, list) or len(ids) != k:
        return None
    # Types first: True == 1 == 1.0, and a list or an object among the ids can't be put in a set.
    types = set(map(type, ids))
    if contract.ids == "number":
        return tuple(ids) if types == _INTEGERS and _numbers(k) == set(ids) else None
    spelled = _strings(k)
    return tuple(spelled[i] for i in ids) if types == _STRINGS and spelled.keys() == set(ids) else None


def ranking_of(value: object, terms: Terms) -> tuple[int, ...] | None:
    """As `plain_ranking`, of any contract.

    Returns:
        Candidate numbers, best first, as many as the contract wants; none for kind schema.
    """
    contract = terms.contract
    if contract.is_plain:
        return plain_ranking(value, terms.k, contract)
    ranking = () if contract.kind == "schema" else _listed(value, terms)
    schema = terms.whole_schema
    if ranking is None or schema is None or keeps(value, schema):
        return ranking
    return None


def _listed(value: object, terms: Terms) -> tuple[int, ...] | None:
    """The ranking in an answer whose envelope is as it should be."""
    contract = terms.contract
    for depth, name in enumerate(contract.members):
        if not isinstance(value, dict) or name not in value:
            return None
        if len(value) != 1 and not contract.extra_keys and not value.keys() <= contract.allowed[depth]:
            return None
        value = value[name]
    listed = terms.listed
    if not isinstance(value, list) or len(value) != listed:
        return None
    ids = value
    if contract.id_field is not None:
        if not all(type(one) is dict and contract.id_field in one for one in value):
            return None
        ids = [one[contract.id_field] for one in value]
    wanted = _INTEGERS if contract.ids in ("number", "number0") else _STRINGS
    if set(map(type, ids)) != wanted:
        return None
    numbers = numbers_of(contract.ids, terms.k, terms.item_ids)
    ranking = tuple(numbers.get(one, 0) for one in ids)
    return ranking if 0 not in ranking and len(set(ranking)) == listed else None


@lru_cache(maxsize=128)
def _numbers(k: int) -> frozenset[int]:
    return frozenset(range(1, k + 1))


@lru_cache(maxsize=128)
def _strings(k: int) -> dict[str, int]:
    return {str(n): n for n in range(1, k + 1)}
