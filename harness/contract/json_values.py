"""A character-level automaton of one JSON value, for what a contract with extra keys tolerates.

A state keeps only what its future depends on: of a string the escape in progress but not the characters, of
a number only how far it has got.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from harness.contract.json_strings import advance_string
from harness.contract.json_text import WHITE_SPACE

(
    _VALUE,  # a value must come
    _FIRST_ELEMENT,  # just inside an array: a value or its end
    _FIRST_KEY,  # just inside an object: a key or its end
    _KEY,  # after a comma in an object
    _IN_KEY,
    _COLON,
    _IN_STRING,
    _IN_WORD,  # true, false, null; `text` is what is still missing
    _MINUS,
    _ZERO,
    _INTEGER,
    _POINT,
    _FRACTION,
    _EXPONENT,
    _EXPONENT_SIGN,
    _EXPONENT_DIGITS,
    _AFTER,  # a value inside a container ended: a comma or the container's end
    DONE,  # the whole value ended
) = range(18)

_DIGITS = "0123456789"
# number mode -> what may follow -> next mode
_NUMBER_STEPS: Final = {
    _MINUS: {"0": _ZERO} | dict.fromkeys(_DIGITS[1:], _INTEGER),
    _ZERO: {".": _POINT, "e": _EXPONENT, "E": _EXPONENT},
    _INTEGER: dict.fromkeys(_DIGITS, _INTEGER) | {".": _POINT, "e": _EXPONENT, "E": _EXPONENT},
    _POINT: dict.fromkeys(_DIGITS, _FRACTION),
    _FRACTION: dict.fromkeys(_DIGITS, _FRACTION) | {"e": _EXPONENT, "E": _EXPONENT},
    _EXPONENT: dict.fromkeys(_DIGITS, _EXPONENT_DIGITS) | {"+": _EXPONENT_SIGN, "-": _EXPONENT_SIGN},
    _EXPONENT_SIGN: dict.fromkeys(_DIGITS, _EXPONENT_DIGITS),
    _EXPONENT_DIGITS: dict.fromkeys(_DIGITS, _EXPONENT_DIGITS),
}
_WHOLE_NUMBERS: Final = frozenset({_ZERO, _INTEGER, _FRACTION, _EXPONENT_DIGITS})


class ValueState(NamedTuple):
    """Where in a JSON value the next character stands.

    Attributes:
        mode: kind of place.
        room: how many more levels of containers may open.
        open: the containers that are open, innermost last: None for an array, the keys so far of an object.
        text: decoded characters of a key in progress; missing characters of a word.
        escape: undecoded beginning of an escape sequence; see `json_strings.StringStep`.
    """

    mode: int
    room: int
    open: tuple[frozenset[str] | None, ...] = ()
    text: str = ""
    escape: str = ""


def start_value(room: int) -> ValueState:
    """State before a value that may nest `room` levels deep."""
    return ValueState(_VALUE, room)


def may_end(state: ValueState) -> bool:
    """Whether the whole value may be over here, which for numbers only the next character shows."""
    return state.mode == DONE or (state.mode in _WHOLE_NUMBERS and not state.open)


def advance_value(state: ValueState, char: str) -> ValueState | None:
    """State after `char`, or None when no JSON value goes on like this."""
    if state.mode in _NUMBER_STEPS:
        return _in_number(state, char)
    if state.mode in (_IN_STRING, _IN_KEY):
        return _in_string(state, char)
    if state.mode == _IN_WORD:
        return _in_word(state, char)
    return state if char in WHITE_SPACE else _between(state, char)


def _between(state: ValueState, char: str) -> ValueState | None:
    """State after a character that isn't white space, outside strings, numbers and words."""
    mode = state.mode
    closer = "" if not state.open else "]" if state.open[-1] is None else "}"
    if mode in (_FIRST_ELEMENT, _FIRST_KEY, _AFTER) and char == closer:
        return _ended(state._replace(open=state.open[:-1]))
    if mode in (_VALUE, _FIRST_ELEMENT):
        return _begun(state, char)
    if mode in (_FIRST_KEY, _KEY) and char == '"':
        return state._replace(mode=_IN_KEY)
    if mode == _COLON and char == ":":
        return state._replace(mode=_VALUE)
    if mode == _AFTER and char == ",":
        return state._replace(mode=_VALUE if closer == "]" else _KEY)
    return None


def _in_number(state: ValueState, char: str) -> ValueState | None:
    following = _NUMBER_STEPS[state.mode].get(char)
    if following is not None:
        return state._replace(mode=following)
    # The number is over, if it may be, and the character belongs to the container it stands in.
    over = state.mode in _WHOLE_NUMBERS and state.open
    return advance_value(state._replace(mode=_AFTER), char) if over else None


def _begun(state: ValueState, char: str) -> ValueState | None:
    """State after the first character of a value."""
    if char in "[{":
        if len(state.open) == state.room:
            return None
        if char == "[":
            return state._replace(mode=_FIRST_ELEMENT, open=(*state.open, None))
        return state._replace(mode=_FIRST_KEY, open=(*state.open, frozenset()))
    if char == '"':
        return state._replace(mode=_IN_STRING)
    for word in ("true", "false", "null"):
        if char == word[0]:
            return state._replace(mode=_IN_WORD, text=word[1:])
    first = _MINUS if char == "-" else _NUMBER_STEPS[_MINUS].get(char)
    return None if first is None else state._replace(mode=first)


def _ended(state: ValueState) -> ValueState:
    """State after a value's last character, `open` being what is open around it."""
    return ValueState(_AFTER if state.open else DONE, state.room, state.open)


def _in_word(state: ValueState, char: str) -> ValueState | None:
    if char != state.text[0]:
        return None
    rest = state.text[1:]
    return state._replace(text=rest) if rest else _ended(state)


def _in_string(state: ValueState, char: str) -> ValueState | None:
    step = advance_string(state.text, state.escape, char)
    if step is None:
        return None
    if state.mode == _IN_STRING:
        if step.closed:
            return _ended(state)
        # What an escape stands for doesn't matter here, only how much of it is missing.
        escape = step.escape if step.escape == "\\" else ""
        if step.escape.startswith("\\u"):
            escape = "\\u" + "0" * (len(step.escape) - 2)
        return state._replace(escape=escape)
    if not step.closed:
        return state._replace(text=step.text, escape=step.escape)
    keys = state.open[-1]
    if keys is None or step.text in keys:
        return None
    return ValueState(_COLON, state.room, (*state.open[:-1], keys | {step.text}))
