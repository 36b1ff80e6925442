"""Classes of next tokens for any contract, from a grammar engine.

The grammar says what JSON the schema allows; `contract.json_place` says the role of a position and takes out
what no grammar says (a key or an id that comes twice, nesting that is too deep).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from harness.contract import Terms
from harness.contract.json_place import (
    IN_KEY,
    IN_NUMBER,
    IN_STRING,
    IN_WORD,
    NUMBER_BYTES,
    Listing,
    Place,
    after_bytes,
    role_of,
    settled,
)
from harness.contract.json_text import MAX_DEPTH
from harness.contract.states import Role
from harness.rollouts.grammar_engine import GrammarEngine

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_MOST_STATES: Final = 50_000
_MOST_TERMS: Final = 256
_SPACES: Final = b" \t\n\r"
_LONGEST_RUN: Final = 24
"""How many brackets a token may open; nearer than that to the deepest nesting every token is walked."""


class GrammarState:
    """Where an answer stands after whole tokens; states after the same tokens are the same object."""

    __slots__ = ("_role", "_root", "children", "matcher", "members", "parent", "place", "settled", "token_id")

    def __init__(self, root: _Root, parent: GrammarState | None, token_id: int, place: Place) -> None:
        self._root = root
        self.parent = parent
        self.token_id = token_id
        self.place = place
        self.settled: Place | None = None
        self.children: dict[int, GrammarState] = {}
        self.matcher: Any = None
        self.members: IntArray | None = None
        self._role: Role | None = None

    @property
    def root(self) -> _Root:
        """What its answer is held to."""
        return self._root

    @property
    def role(self) -> Role:
        """Role of the position at which the next token stands."""
        if self._role is None:
            self._role = self._root.role(self)
        return self._role


class _Root:
    """One answer's terms, compiled."""

    def __init__(self, classes: GrammarClasses, matcher: Any, listing: Listing | None) -> None:
        self.classes = classes
        self.matcher = matcher
        self.listing = listing
        self.start = GrammarState(self, None, -1, Place())

    def role(self, state: GrammarState) -> Role:
        """Role of the next decision at a state."""
        members = self.classes.members(state)
        place = self.settled(state)
        begins = self.classes.begins(members) if place.mode not in (IN_STRING, IN_KEY) else ()
        return role_of(place, begins, self.listing)

    def settled(self, state: GrammarState) -> Place:
        """The place of a state, past a number that can't go on."""
        if state.settled is None:
            place = state.place
            if place.mode == IN_NUMBER and not self.classes.has_digits(self.classes.members(state)):
                place = settled(place, self.listing)
            state.settled = place
        return state.settled


class GrammarClasses:
    """Equivalence classes of one vocabulary under any contract; see `TokenClasses` for what a class is.

    Args:
        vocabulary: bytes of each token id; None or empty for ids that stand for no text.
        end_ids: ids that end a completion; in a class exactly where the answer is complete.

    Raises:
        EngineUnavailableError: llguidance isn't installed.
    """

    def __init__(self, vocabulary: Sequence[bytes | None], end_ids: Iterable[int]) -> None:
        self._vocabulary = vocabulary
        self._end_ids = np.array(sorted(end_ids), dtype=np.int64)
        self._engine = GrammarEngine(vocabulary, self._end_ids.tolist())
        self._roots: dict[Terms, _Root] = {}
        self._states = 0
        self._arrays: dict[bytes, IntArray] = {}
        contents = [content or b"" for content in vocabulary]
        self._first = np.array([one[0] if one else 0 for one in contents], dtype=np.uint8)
        trimmed = [one.lstrip(_SPACES) for one in contents]
        self._begins = np.array([one[0] if one else 0 for one in trimmed], dtype=np.uint8)
        self._quotes = np.array([one.count(b'"') for one in contents], dtype=np.int64)
        self._nests = np.array([b"[" in one or b"{" in one for one in contents], dtype=bool)
        digits = np.array([any(0x30 <= byte < 0x3A for byte in one) for one in contents], dtype=bool)
        self._begins_id = digits | (self._quotes > 0)
        self._all = np.ones(len(contents), dtype=bool)

    def start(self, terms: Terms) -> GrammarState:
        """State before the first token of an answer.

        Raises:
            NoClassesError: the engine has no grammar for the schema, or nothing satisfies it.
        """
        root = self._roots.get(terms)
        if root is None or self._states > _MOST_STATES:
            self._states = 0
            if root is None and len(self._roots) >= _MOST_TERMS:
                self._roots.clear()
            for known in self._roots.values():
                known.start = GrammarState(known, None, -1, Place())
            if root is None:
                root = _Root(self, self._engine.matcher(terms), listing_of(terms))
                self._roots[terms] = root
        return root.start

    def members(self, state: GrammarState) -> IntArray:
        """Ids of the class at `state`, ascending; computed once a state, one array for equal classes."""
        if state.members is None:
            matcher = self._matcher(state)
            bits = self._engine.bits(matcher)
            for token_id in np.flatnonzero(bits & self._asked(state)).tolist():
                content = self._vocabulary[token_id] or b""
                bits[token_id] = after_bytes(state.place, content, state.root.listing) is not None
            bits = self._engine.with_same(bits)
            bits[self._end_ids] = matcher.is_accepting() and self._may_end(state)
            digest = hashlib.blake2b(np.packbits(bits).tobytes(), digest_size=16).digest()
            if digest not in self._arrays:
                self._arrays[digest] = np.flatnonzero(bits).astype(np.int64)
            state.members = self._arrays[digest]
        return state.members

    def is_member(self, state: GrammarState, token_id: int) -> bool:
        """Whether one token is in the class at `state`."""
        members = self.members(state)
        at = int(np.searchsorted(members, token_id))
        return at < members.size and int(members[at]) == token_id

    def follow(self, state: GrammarState, token_id: int) -> tuple[GrammarState | None, bool]:
        """State after one more token, and whether that leaves the decision it takes part in open.

        None when the token breaks the contract or ends the answer.
        """
        child = state.children.get(token_id)
        if child is None:
            content = self._vocabulary[token_id] if 0 <= token_id < len(self._vocabulary) else None
            if not content or token_id in self._end_ids or not self.is_member(state, token_id):
                return None, False
            place = after_bytes(state.root.settled(state), content, state.root.listing)
            if place is None:
                raise AssertionError("a member of a class leads somewhere")
            child = GrammarState(state.root, state, token_id, place)
            matcher, state.matcher = self._matcher(state), None
            matcher.consume_token(self._engine.known_as(token_id))
            child.matcher = matcher
            state.children[token_id] = child
            self._states += 1
        before, after = state.root.settled(state), child.root.settled(child)
        return child, before.decisions == after.decisions

    def unsaid(self, terms: Terms) -> tuple[str, ...]:
        """What of the terms the classes don't say, so that they are too wide."""
        return self._engine.unsaid(terms)

    def begins(self, members: IntArray) -> set[int]:
        """Bytes, white space apart, with which some tokens begin."""
        return set(np.flatnonzero(np.bincount(self._begins[members], minlength=1)).tolist()) - {0}

    def has_digits(self, members: IntArray) -> bool:
        """Whether a number may go on with one of these tokens."""
        return not NUMBER_BYTES.isdisjoint(np.flatnonzero(np.bincount(self._first[members])).tolist())

    def _matcher(self, state: GrammarState) -> Any:
        """The engine's state there; where it has moved on, it is brought there again from the start."""
        if state.matcher is None:
            tokens: list[int] = []
            here = state
            while here.parent is not None:
                tokens.append(self._engine.known_as(here.token_id))
                here = here.parent
            state.matcher = state.root.matcher.deep_copy()
            state.matcher.consume_tokens(tokens[::-1])
        return state.matcher

    def _may_end(self, state: GrammarState) -> bool:
        """Whether a number at the end of an answer is no id that is listed already."""
        return not state.place.raw or after_bytes(state.place, b" ", state.root.listing) is not None

    def _asked(self, state: GrammarState) -> BoolArray:
        """Tokens of the engine's mask that a key, an id or the nesting may speak against."""
        place, listing = state.place, state.root.listing
        if listing is not None and listing.holds(place.frames) and place.mode in (IN_STRING, IN_NUMBER):
            return self._all
        # What closes a key that may have been met: one quote inside it, two before it, three inside a value.
        asked = self._quotes >= (1 if place.mode == IN_KEY else 3 if place.mode == IN_STRING else 2)
        if listing is not None and place.mode not in (IN_KEY, IN_WORD):
            asked = self._begins_id if place.mode != IN_STRING else self._quotes >= 1
        if len(place.frames) + _LONGEST_RUN > MAX_DEPTH:
            asked = asked | self._nests
        return np.asarray(asked)


def listing_of(terms: Terms) -> Listing | None:
    """Where the ids of an answer stand; None for a contract that ranks nothing."""
    contract = terms.contract
    if contract.kind != "listwise":
        return None
    return Listing(
        contract.members,
        contract.id_field,
        tuple(terms.spell(number) for number in range(1, terms.k + 1)),
    )
