"""A character-level automaton of a contract: all that the strict parser accepts, and nothing else.

`start` gives the state before the first character, `advance` the state after one more, or None when no valid
answer goes on like that: every state it does give can still be completed. Ids already listed are part of a
state, so a repeated one is a dead end like any other. `role` names the structural decision that the next
character takes part in; `harness.contract.states` says which place has which.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from harness.contract.json_strings import advance_string, longer_escape, spellings
from harness.contract.json_text import MAX_DEPTH, WHITE_SPACE
from harness.contract.json_values import DONE, advance_value, may_end, start_value
from harness.contract.model import Contract
from harness.contract.states import (
    AFTER_EXTRA,
    CLOSE,
    COLON,
    END,
    EXTRA_COLON,
    EXTRA_VALUE,
    ID,
    IN_INTEGER_ID,
    IN_KEY,
    IN_STRING_ID,
    KEY,
    LIST_CLOSE,
    LIST_OPEN,
    OPEN,
    ROLES,
    SEPARATOR,
    Language,
    Role,
    State,
    is_complete,
    role,
)
from harness.contract.text_place import place_of_failure

__all__ = ["ROLES", "Role", "State", "advance", "is_complete", "role", "start"]

_Step = Callable[[State, str], State | None]


@lru_cache(maxsize=128)
def _language(contract: Contract, k: int) -> Language:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not contract.is_plain:
        raise ValueError("this automaton reads numbers or strings of numbers in one member of an object")
    return Language(contract, k, tuple(map(spellings, contract.key)), (1 << (k + 1)) - 2)


def start(contract: Contract, k: int) -> State:
    """State before the first character of an answer for `k` candidates.

    Raises:
        ValueError: `k` < 1.
    """
    return State(_language(contract, k), OPEN)


def advance(state: State, char: str) -> State | None:
    """State after one more character, or None when no valid answer goes on like that."""
    return _STEPS[state.place](state, char)


def _marks(mark: str, place: int) -> _Step:
    """The step of a place where, white space apart, only `mark` may stand, which leads to `place`."""

    def step(state: State, char: str) -> State | None:
        if char == mark:
            return state._replace(place=place)
        return state if char in WHITE_SPACE else None

    return step


def _in_key(state: State, char: str) -> State | None:
    if state.language.contract.extra_keys:
        return _in_any_key(state, char)
    spelled = state.language.key_spellings
    at = len(state.text)
    if char == '"' and not state.escape:
        return State(state.language, COLON) if at == len(spelled) else None
    if at == len(spelled):
        return None
    begun = longer_escape(state.escape, char)
    if begun in spelled[at]:
        return state._replace(text=state.language.contract.key[: at + 1], escape="")
    if any(spelling.startswith(begun) for spelling in spelled[at]):
        return state._replace(escape=begun)
    return None


def _in_any_key(state: State, char: str) -> State | None:
    step = advance_string(state.text, state.escape, char)
    if step is None:
        return None
    if not step.closed:
        return state._replace(text=step.text, escape=step.escape)
    if step.text in state.seen:
        return None
    place = COLON if step.text == state.language.contract.key else EXTRA_COLON
    return State(state.language, place, seen=state.seen | {step.text})


def _id(state: State, char: str) -> State | None:
    if char in WHITE_SPACE:
        return state
    if state.language.contract.ids == "string":
        return state._replace(place=IN_STRING_ID) if char == '"' else None
    return _with_digits(state, char) if char in "123456789" else None


def _in_integer(state: State, char: str) -> State | None:
    if char in "0123456789":
        return _with_digits(state, state.text + char)
    listed = _listed(state, int(state.text))
    return None if listed is None else advance(listed, char)


def _with_digits(state: State, digits: str) -> State | None:
    """State after the digits of an integer id so far."""
    number = int(digits)
    if _longer_id_left(state, number):
        return state._replace(place=IN_INTEGER_ID, text=digits)
    return _listed(state, number)


def _in_id_string(state: State, char: str) -> State | None:
    if char == '"' and not state.escape:
        return _listed(state, int(state.text)) if state.text else None
    begun = longer_escape(state.escape, char)
    for digit in "0123456789":
        if not any(spelling.startswith(begun) for spelling in _DIGIT_SPELLINGS[digit]):
            continue
        digits = state.text + digit
        number = int(digits)
        if digits[0] == "0" or not (_is_left(state, number) or _longer_id_left(state, number)):
            continue
        if begun in _DIGIT_SPELLINGS[digit]:
            return state._replace(text=digits, escape="")
        return state._replace(escape=begun)
    return None


def _is_left(state: State, number: int) -> bool:
    return number <= state.language.k and not state.used >> number & 1


def _longer_id_left(state: State, number: int) -> bool:
    """Whether an id that isn't listed yet begins with the digits of `number` and goes on."""
    left = state.language.all_ids & ~state.used
    low, width = number * 10, 10
    while low <= state.language.k:
        if left >> low & ((1 << width) - 1):
            return True
        low, width = low * 10, width * 10
    return False


def _listed(state: State, number: int) -> State | None:
    """State after a whole id, or None when it can't stand there."""
    if not _is_left(state, number):
        return None
    used = state.used | 1 << number
    if used == state.language.all_ids:
        return State(state.language, LIST_CLOSE, seen=state.seen)
    return State(state.language, SEPARATOR, used, seen=state.seen)


def _close(state: State, char: str) -> State | None:
    if char in WHITE_SPACE:
        return state
    if char == "}":
        return State(state.language, END)
    return state._replace(place=KEY) if char == "," and state.language.contract.extra_keys else None


def _extra_colon(state: State, char: str) -> State | None:
    if char == ":":
        return state._replace(place=EXTRA_VALUE, value=start_value(MAX_DEPTH - 1))
    return state if char in WHITE_SPACE else None


def _extra_value(state: State, char: str) -> State | None:
    if state.value is None:
        raise AssertionError("a place inside a value has a value")
    following = advance_value(state.value, char)
    if following is not None and following.mode != DONE:
        return state._replace(value=following)
    ranked = state.language.contract.key in state.seen
    after = State(state.language, CLOSE if ranked else AFTER_EXTRA, seen=state.seen)
    if following is not None:
        return after
    return advance(after, char) if may_end(state.value) else None


def failing_place(contract: Contract, text: str, k: int, path: str | None = None) -> int | None:
    """Where no valid answer can go on: index of the first such character, the length at the end.

    None where that lies beyond the part that is looked at. Of contracts that this automaton doesn't read it
    is where the text stops being JSON, or the value that the failure names begins.

    Args:
        contract: of the run.
        text: a completion that isn't strict.
        k: number of candidates.
        path: of the failure, as in `ParseResult`.
    """
    if not contract.is_plain:
        return place_of_failure(text, path) if len(text) <= _FARTHEST else None
    state = start(contract, k)
    for place, char in enumerate(text[:_FARTHEST]):
        following = advance(state, char)
        if following is None:
            return place
        state = following
    return len(text) if len(text) <= _FARTHEST else None


_FARTHEST: Final = 50_000
_DIGIT_SPELLINGS: Final = {digit: spellings(digit) for digit in "0123456789"}

_STEPS: Final[dict[int, _Step]] = {
    OPEN: _marks("{", KEY),
    KEY: _marks('"', IN_KEY),
    IN_KEY: _in_key,
    COLON: _marks(":", LIST_OPEN),
    LIST_OPEN: _marks("[", ID),
    ID: _id,
    IN_INTEGER_ID: _in_integer,
    IN_STRING_ID: _in_id_string,
    SEPARATOR: _marks(",", ID),
    LIST_CLOSE: _marks("]", CLOSE),
    CLOSE: _close,
    END: lambda state, char: state if char in WHITE_SPACE else None,
    EXTRA_COLON: _extra_colon,
    EXTRA_VALUE: _extra_value,
    AFTER_EXTRA: _marks(",", KEY),
}
