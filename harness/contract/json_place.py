"""Where in a JSON text the next byte stands, and which structural role that place has; for any contract.

Nothing is judged here that a grammar judges. What no grammar says is: an object that names a key twice, an id
that is listed already, nesting that is too deep.

- White space has the role of the decision it delays.
- `key` runs from a key's opening quote to its closing one; so do `value` and `unused_id`, of strings.
- Where only an object may begin it is `open`, only an array `list_open`, only the end of the array
  `list_close`; where there is a choice, of scalars or of kinds, `value`, or `unused_id` where ids stand.
- After an element or a member it is `separator` where another must follow; where the array may end
  `list_close`, where the object may end `close`, although a comma may stand there too.
- After digits it is the number's role still as long as they may go on, then that of what follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from harness.contract.json_strings import spellings
from harness.contract.json_text import MAX_DEPTH
from harness.contract.states import Role

(
    VALUE,  # a value must come
    FIRST_ELEMENT,
    FIRST_KEY,
    NEXT_KEY,
    IN_KEY,
    COLON,
    IN_STRING,
    IN_NUMBER,
    IN_WORD,
    AFTER,  # a value inside a container ended
    END,
) = range(11)

# An escape that isn't finished, behind an even number of backslashes.
_PARTIAL_ESCAPE: Final = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")
_SPACES: Final = frozenset(b" \t\n\r")
_WORDS: Final = (b"true", b"false", b"null")
NUMBER_BYTES: Final = frozenset(b"0123456789+-.eE")
_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"\\,:'
_OPEN, _CLOSE, _LIST_OPEN, _LIST_CLOSE = b"{}[]"


class Frame(NamedTuple):
    """A container that is open.

    Attributes:
        keys: of an object so far, decoded; None for an array.
        at: key or index of the value that is being read.
    """

    keys: frozenset[str] | None
    at: str | int


@dataclass(frozen=True, slots=True)
class Listing:
    """Where a contract's ids stand.

    Attributes:
        path: keys that lead to the array.
        id_field: of its elements, where these are objects.
        ids: the ids, as JSON values.
    """

    path: tuple[str, ...]
    id_field: str | None
    ids: tuple[int | str, ...]
    _texts: dict[int | str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_texts", {one: json.dumps(one, ensure_ascii=False) for one in self.ids})

    def holds(self, frames: tuple[Frame, ...]) -> bool:
        """Whether the value in these containers is an id."""
        depth = len(self.path)
        if len(frames) != depth + 1 + (self.id_field is not None) or frames[depth].keys is not None:
            return False
        at_ids = self.id_field is None or frames[-1].at == self.id_field
        return at_ids and all(frame.at == key for frame, key in zip(frames, self.path, strict=False))

    def may_go_on(self, raw: bytes, used: Collection[int | str]) -> bool:
        """Whether an id that isn't listed yet begins like this."""
        text = raw.decode("utf-8", "ignore")
        if text.startswith('"') and "\\" in text:
            return self._may_go_on_escaped(text, used)
        return any(one not in used and known.startswith(text) for one, known in self._texts.items())

    def _may_go_on_escaped(self, text: str, used: Collection[int | str]) -> bool:
        left = [str(one) for one in self.ids if one not in used]
        partial = _PARTIAL_ESCAPE.search(text)
        if partial is None and text.endswith('"') and _closes(text):
            return json.loads(text) in left
        begun = json.loads(text[: partial.start(1)] + '"') if partial else json.loads(text + '"')
        known = [one for one in left if one.startswith(begun)]
        if partial is None:
            return bool(known)
        escape = partial[1].lower()
        following = {one[len(begun)] for one in known if len(one) > len(begun)}
        return any(spelling.startswith(escape) for one in following for spelling in spellings(one))


def _closes(text: str) -> bool:
    """Whether the last quote of a string's text isn't escaped."""
    before = text[:-1]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 0


class Place(NamedTuple):
    """Where the next byte stands.

    Attributes:
        mode: kind of place.
        frames: containers that are open, outermost first.
        raw: bytes of the key or scalar in progress; of strings that are no ids, the opening quote alone.
        escaped: whether the byte before was a backslash that escapes the next.
        used: ids that are listed already.
        decisions: how many were taken; a lexeme with the white space before it is one.
    """

    mode: int = VALUE
    frames: tuple[Frame, ...] = ()
    raw: bytes = b""
    escaped: bool = False
    used: frozenset[int | str] = frozenset()
    decisions: int = 0


def after_bytes(place: Place, content: bytes, listing: Listing | None) -> Place | None:
    """The place after some bytes of a text; None where a key or an id comes twice, or it nests too deep."""
    here: Place | None = place
    for byte in content:
        if here is None:
            return None
        here = _after(here, byte, listing)
    return here


def settled(place: Place, listing: Listing | None) -> Place:
    """The place behind a number that can't go on."""
    return _ended(place, listing) or place


def role_of(place: Place, begins: Collection[int], listing: Listing | None) -> Role:
    """Role of the next decision.

    Args:
        place: settled.
        begins: bytes, white space apart, with which tokens that keep the contract begin there.
        listing: of a contract that ranks.
    """
    found: Role = "unused_id" if listing is not None and listing.holds(place.frames) else "value"
    mode = place.mode
    if mode in (FIRST_KEY, NEXT_KEY, IN_KEY):
        found = "close" if mode == FIRST_KEY and set(begins) == {_CLOSE} else "key"
    elif mode == COLON:
        found = "colon"
    elif mode == END:
        found = "end"
    elif mode == AFTER and place.frames[-1].keys is None:
        found = "list_close" if _LIST_CLOSE in begins else "separator"
    elif mode == AFTER:
        found = "close" if _CLOSE in begins else "separator"
    elif mode in (VALUE, FIRST_ELEMENT) and begins:
        # An end of the array beside a value is a choice of the value's.
        kinds = set(begins) - {_LIST_CLOSE}
        only: dict[frozenset[int], Role]
        only = {frozenset(): "list_close", frozenset({_OPEN}): "open", frozenset({_LIST_OPEN}): "list_open"}
        found = only.get(frozenset(kinds), found)
    return found


def _after(place: Place, byte: int, listing: Listing | None) -> Place | None:
    mode = place.mode
    if mode in (IN_STRING, IN_KEY):
        return _in_string(place, byte, listing)
    if mode == IN_NUMBER and byte in NUMBER_BYTES:
        return _longer(place, byte, listing)
    if mode == IN_NUMBER:
        ended = _ended(place, listing)
        return None if ended is None else _after(ended, byte, listing)
    if mode == IN_WORD:
        longer = place._replace(raw=place.raw + bytes([byte]))
        return _ended(longer, listing) if longer.raw in _WORDS else longer
    return place if byte in _SPACES else _between(place, byte, listing)


def _between(place: Place, byte: int, listing: Listing | None) -> Place | None:
    """The place after a byte that isn't white space, outside keys and scalars."""
    mode, following = place.mode, None
    if mode in (VALUE, FIRST_ELEMENT) and byte != _LIST_CLOSE:
        following = _begun(place, byte, listing)
    elif mode in (FIRST_KEY, NEXT_KEY) and byte == _QUOTE:
        following = place._replace(mode=IN_KEY, raw=b'"')
    elif mode == COLON and byte == _COLON:
        following = place._replace(mode=VALUE, decisions=place.decisions + 1)
    elif mode in (AFTER, FIRST_ELEMENT, FIRST_KEY) and byte in (_CLOSE, _LIST_CLOSE):
        following = _ended(place._replace(frames=place.frames[:-1], raw=b""), None)
    elif mode == AFTER and byte == _COMMA:
        last = place.frames[-1]
        following = place._replace(mode=NEXT_KEY, decisions=place.decisions + 1)
        if isinstance(last.at, int):
            following = following._replace(mode=VALUE, frames=(*place.frames[:-1], Frame(None, last.at + 1)))
    return following


def _begun(place: Place, byte: int, listing: Listing | None) -> Place | None:
    if byte in (_OPEN, _LIST_OPEN):
        if len(place.frames) == MAX_DEPTH:
            return None
        is_list = byte == _LIST_OPEN
        frame = Frame(None, 0) if is_list else Frame(frozenset(), "")
        return place._replace(
            mode=FIRST_ELEMENT if is_list else FIRST_KEY,
            frames=(*place.frames, frame),
            decisions=place.decisions + 1,
        )
    mode = IN_STRING if byte == _QUOTE else IN_NUMBER if byte in NUMBER_BYTES else IN_WORD
    return _longer(place._replace(mode=mode, raw=b""), byte, listing)


def _longer(place: Place, byte: int, listing: Listing | None) -> Place | None:
    """A scalar with one more byte; None where it is an id and none that is left begins like this."""
    raw = place.raw + bytes([byte])
    is_id = listing is not None and listing.holds(place.frames)
    if is_id and listing is not None and not listing.may_go_on(raw, place.used):
        return None
    return place._replace(raw=raw if is_id or place.mode != IN_STRING else b'"')


def _in_string(place: Place, byte: int, listing: Listing | None) -> Place | None:
    if place.mode == IN_KEY:
        longer: Place | None = place._replace(raw=place.raw + bytes([byte]))
    else:
        longer = _longer(place, byte, listing)
    if longer is None:
        return None
    if place.escaped or byte != _QUOTE:
        return longer._replace(escaped=byte == _BACKSLASH and not place.escaped)
    if place.mode == IN_STRING:
        return _ended(longer, listing)
    key = json.loads(longer.raw.decode("utf-8", "surrogatepass"))
    last = place.frames[-1]
    if last.keys is None or key in last.keys:
        return None
    frames = (*place.frames[:-1], Frame(last.keys | {key}, key))
    return longer._replace(mode=COLON, frames=frames, raw=b"", decisions=place.decisions + 1)


def _ended(place: Place, listing: Listing | None) -> Place | None:
    """The place behind a value; None where it is an id that is listed already."""
    used = place.used
    if listing is not None and place.raw and listing.holds(place.frames):
        one = json.loads(place.raw)
        if one in used or one not in listing.ids:
            return None
        used |= {one}
    mode = AFTER if place.frames else END
    return Place(mode, place.frames, b"", False, used, place.decisions + 1)
