"""Whether a text says anything of the form that an answer is held to."""

from __future__ import annotations

import json
import re
from typing import Any

from harness.contract.terms import Terms

_JSON = re.compile(r"\bjson\b", re.IGNORECASE)
_MOST_NAMES = 50


def speaks_of(text: str, terms: Terms) -> bool:
    """Whether a prompt names JSON, or a member that the contract asks for; a model can't guess either.

    Args:
        text: what is put to a model.
        terms: what its answer is held to.
    """
    if _JSON.search(text):
        return True
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in _names(terms) if name.strip())


def _names(terms: Terms) -> list[str]:
    """Members that an answer has: of the path that ranks, of its elements, of the schema at the top."""
    contract = terms.contract
    if contract.kind == "listwise":
        return [*contract.members, *([] if contract.id_field is None else [contract.id_field])]
    schema: Any = json.loads(terms.whole_schema or "true")
    members = schema.get("properties") if isinstance(schema, dict) else None
    return list(members)[:_MOST_NAMES] if isinstance(members, dict) else []
