"""What parsing a completion gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Tier = Literal["strict", "lenient", "repaired", "none"]

FailureCode = Literal[
    "empty",
    "truncated",
    "not_json",
    "extra_text",
    "duplicate_key",
    "wrong_type",
    "missing_key",
    "extra_key",
    "wrong_id_type",
    "wrong_length",
    "unknown_id",
    "duplicate_id",
    "wrong_value",
]

TIERS: Final[tuple[Tier, ...]] = get_args(Tier)
"""Best first."""

FAILURE_CODES: Final[tuple[FailureCode, ...]] = get_args(FailureCode)
"""In the order in which they apply: a text that fails in several ways has the first of their codes."""


@dataclass(frozen=True, slots=True)
class ParseResult:
    """How far a completion keeps the contract.

    Attributes:
        tier: `strict` when the text, trimmed of JSON white space, is valid on its own; `lenient` when exactly
            one valid object can be cut out of it; `repaired` when a repair library had to change it; else
            `none`. Only `strict` counts as parse validity.
        code: why strict parsing failed, the first of `FAILURE_CODES` that applies; None when strict.
        path: JSONPath of the offending value (`$.ranking[3]`), None where the text isn't one JSON value.
        message: what is wrong in at most 200 characters, None when strict.
        ranking: candidate numbers 1…K, best first, however the contract spells them, as many as it wants;
            None when `tier` is `none`, and for kind `schema`.
    """

    tier: Tier
    code: FailureCode | None
    path: str | None
    message: str | None
    ranking: tuple[int, ...] | None
