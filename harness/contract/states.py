"""Where in an answer a character stands, and which structural role that place has.

- White space has the role of the decision it delays: before the colon `colon`, before an id `unused_id`,
  after an id `separator`, after the last id `list_close`, at the very start `open`.
- `key` runs from the key's opening quote to its closing quote, and so does `unused_id` for string ids.
- After an id that is complete whatever follows, the decision is `separator`, or `list_close` after the K-th.
- After digits that may go on (a 1 when 12 isn't listed yet) it is `unused_id` still, though the 1 may be
  complete and a comma may follow: which id it is gets decided there. When no longer id is left, the digits
  are an id already and the position is a `separator` or `list_close`.
- After the closing brace it is `end`: white space, or the end of the text.
- A contract that allows extra keys has no role of its own for them: an extra member is `key` from its first
  quote to the end of its value, and so is the comma after it as long as the ranking hasn't come. Once it has,
  the decision after every member is `close`, although a comma and another member may follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from harness.contract.json_values import ValueState
from harness.contract.model import Contract

Role = Literal[
    "open", "key", "colon", "list_open", "separator", "unused_id", "list_close", "close", "end", "value"
]  # fmt: skip

ROLES: Final[tuple[Role, ...]] = tuple(role for role in get_args(Role) if role != "value")
"""Of the default contract, in the order in which an answer meets them first."""


def roles_of(contract: Contract) -> tuple[Role, ...]:
    """Roles that arrays name by their number; those of `ROLES` have the same number for every contract."""
    return ROLES if contract.is_plain else (*ROLES, "value")


(
    OPEN,
    KEY,
    IN_KEY,
    COLON,
    LIST_OPEN,
    ID,
    IN_INTEGER_ID,
    IN_STRING_ID,
    SEPARATOR,
    LIST_CLOSE,
    CLOSE,
    END,
    EXTRA_COLON,
    EXTRA_VALUE,
    AFTER_EXTRA,
) = range(15)

_ROLE_OF: Final[dict[int, Role]] = {
    OPEN: "open",
    KEY: "key",
    IN_KEY: "key",
    COLON: "colon",
    LIST_OPEN: "list_open",
    ID: "unused_id",
    IN_INTEGER_ID: "unused_id",
    IN_STRING_ID: "unused_id",
    SEPARATOR: "separator",
    LIST_CLOSE: "list_close",
    CLOSE: "close",
    END: "end",
    EXTRA_COLON: "key",
    EXTRA_VALUE: "key",
    AFTER_EXTRA: "key",
}


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """A contract for K candidates made ready for reading; one object for each contract and K.

    Attributes:
        contract: what is read.
        k: number of candidates, ≥ 1.
        key_spellings: for each character of the key, the ways to write it in a JSON string.
        all_ids: bits 1…k.
    """

    contract: Contract
    k: int
    key_spellings: tuple[tuple[str, ...], ...]
    all_ids: int


class State(NamedTuple):
    """What was read so far, as far as it matters for what may follow: small, immutable, hashable.

    Attributes:
        language: what is being read.
        place: kind of place the next character stands in.
        used: bit i is set when id i is listed; 0 outside the list.
        text: decoded characters of the key or id in progress.
        escape: undecoded beginning of an escape sequence in it.
        seen: keys the object has so far, where the contract allows extra ones.
        value: state inside the value of an extra key.
    """

    language: Language
    place: int
    used: int = 0
    text: str = ""
    escape: str = ""
    seen: frozenset[str] = frozenset()
    value: ValueState | None = None


def is_complete(state: State) -> bool:
    """Whether what was read is a valid answer as it stands."""
    return state.place == END


def same_decision(before: State, after: State) -> bool:
    """Whether the decision that the characters between two states took part in is still open.

    Characters are one decision as long as they only delay it (white space) or spell it out: a key, a colon,
    the digits of an id. One that ends a decision and begins another of the same role, as a comma after digits
    that might have gone on, is seen by the ids used, or by a new key.
    """
    return (
        role(before) == role(after)
        and before.used == after.used
        and (after.place != KEY or before.place == KEY)
    )


def role(state: State) -> Role:
    """Role of the next character."""
    return _ROLE_OF[state.place]
