"""The quick yes: does a decoded value keep the contract?"""

from __future__ import annotations

from functools import lru_cache

from harness.contract.model import Contract

_INTEGERS = {int}
_STRINGS = {str}


def ranking_of(value: object, k: int, contract: Contract) -> tuple[int, ...] | None:
    """The ranking in a decoded value, or None when the value breaks the contract.

    Says the same as a jsonschema validator of `contract.json_schema(k)` in which 3.0 is no integer.

    Args:
        value: what a JSON decoder made.
        k: number of candidates, ≥ 1.
        contract: what the value is held to.

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
    if contract.id_style == "integer":
        return tuple(ids) if types == _INTEGERS and _numbers(k) == set(ids) else None
    spelled = _strings(k)
    return tuple(spelled[i] for i in ids) if types == _STRINGS and spelled.keys() == set(ids) else None


@lru_cache(maxsize=128)
def _numbers(k: int) -> frozenset[int]:
    return frozenset(range(1, k + 1))


@lru_cache(maxsize=128)
def _strings(k: int) -> dict[str, int]:
    return {str(n): n for n in range(1, k + 1)}
