"""Classes of next tokens for any contract, from a grammar engine (llguidance), which is imported here alone.

The grammar says what JSON the schema allows; `contract.json_place` says the role of a position and takes out
what no grammar says (a key or an id that comes twice, nesting that is too deep).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
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
from harness.contract.model import ROW
from harness.contract.states import Role
from harness.errors import EngineUnavailableError, HarnessError, words_of
from harness.rollouts.schema_grammar import RefusedSchemaError, grammar_of

IntArray = npt.NDArray[np.int64]

_MOST_STATES: Final = 50_000
_MOST_TERMS: Final = 256
_SPACES: Final = b" \t\n\r"
# Bytes that no UTF-8 text holds; the engine marks special tokens with the last of them.
_NO_TEXT: Final = (0xFE, 0xFF)
_LONGEST_RUN: Final = 24
"""How many brackets a token may open; nearer than that to the deepest nesting every token is walked."""


class GrammarState:
    """Where an answer stands after whole tokens; states after the same tokens are the same object."""

    __slots__ = ("_root", "children", "matcher", "members", "parent", "place", "settled", "token_id")

    def __init__(self, root: _Root, parent: GrammarState | None, token_id: int, place: Place) -> None:
        self._root = root
        self.parent = parent
        self.token_id = token_id
        self.place = place
        self.settled: Place | None = None
        self.children: dict[int, GrammarState] = {}
        self.matcher: Any = None
        self.members: IntArray | None = None

    @property
    def root(self) -> _Root:
        """What its answer is held to."""
        return self._root

    @property
    def role(self) -> Role:
        """Role of the position at which the next token stands."""
        return self._root.role(self)


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
        self._engine = _Engine(vocabulary, self._end_ids.tolist())
        self._roots: dict[Terms, _Root] = {}
        self._states = 0
        self._arrays: dict[bytes, IntArray] = {}
        contents = [content or b"" for content in vocabulary]
        self._first = np.array([one[0] if one else 0 for one in contents], dtype=np.uint8)
        trimmed = [one.lstrip(_SPACES) for one in contents]
        self._begins = np.array([one[0] if one else 0 for one in trimmed], dtype=np.uint8)
        self._quoted = np.array([b'"' in one for one in contents], dtype=bool)
        self._nests = np.array([b"[" in one or b"{" in one for one in contents], dtype=bool)
        self._has_digit = np.array([any(0x30 <= byte < 0x3A for byte in one) for one in contents], dtype=bool)

    def start(self, terms: Terms) -> GrammarState:
        """State before the first token of an answer.

        Raises:
            HarnessError: the engine has no grammar for the schema, or nothing satisfies it.
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
            mask = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
            if matcher.is_error():
                raise HarnessError(f"the grammar engine gave up: {words_of(matcher.get_error(), 200)}")
            found = self._engine.ids(mask)
            found = found[self._kept(state, found)]
            place = state.place
            if matcher.is_accepting() and not (
                place.raw and after_bytes(place, b" ", state.root.listing) is None
            ):
                found = np.union1d(found, self._end_ids)
            digest = hashlib.blake2b(found.tobytes(), digest_size=16).digest()
            state.members = self._arrays.setdefault(digest, found)
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
        return set(np.unique(self._begins[members]).tolist()) - {0}

    def has_digits(self, members: IntArray) -> bool:
        """Whether a number may go on with one of these tokens."""
        return not NUMBER_BYTES.isdisjoint(np.unique(self._first[members]).tolist())

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

    def _kept(self, state: GrammarState, ids: IntArray) -> npt.NDArray[np.bool_]:
        """Which tokens of the engine's mask no key and no id speaks against."""
        place, listing = state.place, state.root.listing
        at_id = listing is not None and listing.holds(place.frames)
        if at_id and place.mode in (IN_STRING, IN_NUMBER):
            asked = np.ones(ids.size, dtype=bool)
        else:
            asked = self._quoted[ids]
            if listing is not None and place.mode not in (IN_STRING, IN_KEY, IN_WORD):
                asked |= self._has_digit[ids]
            if len(place.frames) + _LONGEST_RUN > MAX_DEPTH:
                asked |= self._nests[ids]
        kept = np.ones(ids.size, dtype=bool)
        for at in np.flatnonzero(asked).tolist():
            content = self._vocabulary[int(ids[at])]
            kept[at] = content is not None and after_bytes(place, content, listing) is not None
        return kept


class _Engine:
    """The one room of llguidance: its tokenizer for a vocabulary, its matchers for terms."""

    def __init__(self, vocabulary: Sequence[bytes | None], end_ids: Sequence[int]) -> None:
        self._library = _library()
        self._count = len(vocabulary)
        ends = frozenset(end_ids)
        first: dict[bytes, int] = {}
        self._same: dict[int, list[int]] = {}
        tokens: list[bytes] = []
        for token_id, content in enumerate(vocabulary):
            if not content or token_id in ends or any(byte in content for byte in _NO_TEXT):
                tokens.append(b"")
            elif content in first:
                tokens.append(b"")
                self._same.setdefault(first[content], []).append(token_id)
            else:
                first[content] = token_id
                tokens.append(content)
        self._known_as = {other: one for one, others in self._same.items() for other in others}
        # An end of its own: which ids end an answer is added here, and ids without text may be no end.
        tokens.append(b"")
        wrapped = self._library.TokenizerWrapper(_Spelled(tokens))
        self._tokenizer = self._library.LLTokenizer(wrapped, slices=[])

    def known_as(self, token_id: int) -> int:
        """The id under which the engine knows a token; of several with the same bytes it knows one."""
        return self._known_as.get(token_id, token_id)

    def ids(self, mask: npt.NDArray[np.uint8]) -> IntArray:
        """Ids of a mask, a bit a token."""
        found = np.flatnonzero(np.unpackbits(mask, bitorder="little")[: self._count]).astype(np.int64)
        more = [other for one in self._same_in(found) for other in self._same[one]]
        return np.union1d(found, np.array(more, dtype=np.int64)) if more else found

    def _same_in(self, ids: IntArray) -> list[int]:
        if not self._same:
            return []
        return np.intersect1d(ids, np.array(list(self._same), dtype=np.int64)).tolist()

    @cached_property
    def _grammars(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        return {}

    def _grammar(self, terms: Terms) -> tuple[str, tuple[str, ...]]:
        schema = schema_of(terms)
        text = json.dumps(schema)
        if text not in self._grammars:
            try:
                self._grammars[text] = grammar_of(schema, self._refuses)
            except RefusedSchemaError as error:
                raise HarnessError(_refusal(str(error))) from None
            except RecursionError:
                raise HarnessError(_refusal("it nests too deep to be read")) from None
        return self._grammars[text]

    def unsaid(self, terms: Terms) -> tuple[str, ...]:
        """What a grammar leaves out, less what is taken out of classes by other means."""
        ranks = terms.contract.kind == "listwise"
        return tuple(one for one in self._grammar(terms)[1] if not (ranks and one == "uniqueItems"))

    def matcher(self, terms: Terms) -> Any:
        """A matcher before the first token.

        Raises:
            HarnessError: the engine refuses the grammar.
        """
        grammar, _ = self._grammar(terms)
        found = self._library.LLMatcher(self._tokenizer, grammar, log_level=0)
        if found.is_error():
            raise HarnessError(_refusal(found.get_error()))
        return found

    def _refuses(self, schema: Any) -> str | None:
        library = self._library
        grammar = library.LLMatcher.grammar_from_json_schema(json.dumps(schema))
        failed, messages = library.LLMatcher.validate_grammar_with_warnings(grammar)
        return messages[0] if failed else None


class _Spelled:
    """A vocabulary as the engine wants it."""

    bos_token_id = None

    def __init__(self, tokens: list[bytes]) -> None:
        self.tokens = tokens
        self.eos_token_id = len(tokens) - 1
        self.special_token_ids = [self.eos_token_id]

    def __call__(self, text: bytes) -> list[int]:
        """Nothing is tokenized here; the engine only asks whether bytes could be."""
        return []


def _refusal(reason: str) -> str:
    plain = words_of(reason.split("\n<state>")[0].strip(), 200)
    return (
        f"no classes of next tokens for this contract: {plain}. What reads λ*, λ reached or the guard off them "
        "can't be had; `harness eval`, `gate` and `report` need none"
    )


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise EngineUnavailableError(
            "classes of next tokens for this contract need llguidance; pip install 'llguidance>=1.7'"
        ) from error
    return llguidance


def schema_of(terms: Terms) -> Any:
    """The JSON Schema of an answer."""
    contract = terms.contract
    if contract.kind == "schema":
        return json.loads(str(terms.schema if contract.schema_ == ROW else contract.schema_))
    envelope = terms.json_schema()
    return envelope if contract.schema_ is None else {"allOf": [envelope, json.loads(contract.schema_)]}


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
