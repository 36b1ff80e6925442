"""Which tokens of a vocabulary keep a contract alive: the equivalence class at a structural position.

A token keeps the contract alive when some valid answer goes on with its characters, wherever they end: a
token may cross from one role into the next (`": [`), be white space the strict parser allows, or be an
escaped spelling. The class is found by walking a trie of the vocabulary and the contract's automaton
together, so its cost is that of the live branches, not of the vocabulary.

Bytes, not characters, are walked: byte-level vocabularies hold tokens that end inside a character.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.contract.automaton import advance, start
from harness.contract.model import Contract
from harness.contract.states import Role, State, is_complete, role, same_decision
from harness.contract.terms import Terms

_ASCII_END = 0x80


@dataclass(frozen=True, slots=True)
class TokenState:
    """Where an answer stands after whole tokens: an automaton state, and bytes of an unfinished character."""

    state: State
    pending: bytes = b""

    @property
    def role(self) -> Role:
        """Role of the position at which the next token stands."""
        return role(self.state)


class _Node:
    """A trie's node, whose children are made when a walk first comes here: most of a vocabulary never is."""

    __slots__ = ("_children", "_depth", "_tokens", "ids")

    def __init__(self, tokens: list[tuple[bytes, int]], depth: int) -> None:
        self.ids = [token_id for content, token_id in tokens if len(content) == depth]
        self._tokens = tokens
        self._depth = depth
        self._children: dict[int, _Node] | None = None

    @property
    def children(self) -> dict[int, _Node]:
        """The nodes one byte further."""
        if self._children is None:
            groups: dict[int, list[tuple[bytes, int]]] = {}
            for token in self._tokens:
                if len(token[0]) > self._depth:
                    groups.setdefault(token[0][self._depth], []).append(token)
            self._children = {byte: _Node(group, self._depth + 1) for byte, group in groups.items()}
            self._tokens = []
        return self._children


class TokenClasses:
    """Equivalence classes of one vocabulary under one contract.

    Args:
        vocabulary: bytes of each token id; None or empty for ids that stand for no text (special tokens):
            these are never in a class, except `end_ids` where the answer is complete. A special token that a
            decoder hides would leave the text valid, but the model's context isn't an answer any more.
        end_ids: ids that end a completion (EOS and its like).
        contract: what the text is held to.
    """

    def __init__(
        self, vocabulary: Sequence[bytes | None], end_ids: Iterable[int], contract: Contract
    ) -> None:
        self._vocabulary = vocabulary
        self._end_ids = frozenset(end_ids)
        self._contract = contract
        spelled = [
            (content, token_id)
            for token_id, content in enumerate(vocabulary)
            if content and token_id not in self._end_ids
        ]
        self._root = _Node(spelled, 0)
        self._classes: dict[TokenState, npt.NDArray[np.int64]] = {}
        self._beyond_ascii = sorted({char for char in contract.key if ord(char) >= _ASCII_END})

    def start(self, terms: Terms) -> TokenState:
        """State before the first token of an answer, whose contract is that of the classes."""
        return TokenState(start(self._contract, terms.k))

    def advance(self, state: TokenState, token_id: int) -> TokenState | None:
        """State after one more token, None when it breaks the contract or ends the answer."""
        return self.follow(state, token_id)[0]

    def follow(self, state: TokenState, token_id: int) -> tuple[TokenState | None, bool]:
        """As `advance`, and whether the token leaves the decision it takes part in open.

        A blank before an id does, and so does a part of a key; a token that crosses from one decision into
        the next doesn't, wherever it ends.
        """
        content = self._vocabulary[token_id] if 0 <= token_id < len(self._vocabulary) else None
        if not content or token_id in self._end_ids:
            return None, False
        here, still_open = state, True
        for byte in content:
            following = self._step(here, byte)
            if following is None:
                return None, False
            still_open = still_open and same_decision(here.state, following.state)
            here = following
        return here, still_open

    def members(self, state: TokenState) -> npt.NDArray[np.int64]:
        """Ids of the class at `state`, ascending; computed once a state."""
        found = self._classes.get(state)
        if found is None:
            ids = self._walk(state)
            if not state.pending and is_complete(state.state):
                ids.extend(self._end_ids)
            found = np.array(sorted(ids), dtype=np.int64)
            self._classes[state] = found
        return found

    def is_member(self, state: TokenState, token_id: int) -> bool:
        """Whether one token is in the class at `state`."""
        if token_id in self._end_ids:
            return not state.pending and is_complete(state.state)
        return self.advance(state, token_id) is not None

    def unsaid(self, terms: Terms) -> tuple[str, ...]:
        """What of the contract the classes leave out: nothing."""
        return ()

    def _walk(self, state: TokenState) -> list[int]:
        ids: list[int] = []
        open_branches = [(self._root, state)]
        while open_branches:
            node, here = open_branches.pop()
            for byte, child in node.children.items():
                following = self._step(here, byte)
                if following is not None:
                    ids.extend(child.ids)
                    open_branches.append((child, following))
        return ids

    def _step(self, state: TokenState, byte: int) -> TokenState | None:
        if not state.pending and byte < _ASCII_END:
            following = advance(state.state, chr(byte))
            return None if following is None else TokenState(following)
        pending = state.pending + bytes([byte])
        try:
            char = pending.decode("utf-8")
        except UnicodeDecodeError:
            return TokenState(state.state, pending) if self._may_complete(state.state, pending) else None
        following = advance(state.state, char) if len(char) == 1 else None
        return None if following is None else TokenState(following)

    def _may_complete(self, state: State, pending: bytes) -> bool:
        """Whether some character whose UTF-8 begins with `pending` keeps the contract alive."""
        for char in self._beyond_ascii:
            if char.encode("utf-8", "surrogatepass").startswith(pending) and advance(state, char) is not None:
                return True
        if not self._contract.extra_keys:
            return False
        example = _some_character(pending)
        return example is not None and advance(state, example) is not None


def _some_character(pending: bytes) -> str | None:
    """Any character whose UTF-8 begins with these bytes; inside a free string all of them are alike."""
    for missing in (1, 2, 3):
        # 0x90 and 0x80 cover the narrower ranges of the second byte after 0xE0, 0xED, 0xF0 and 0xF4.
        for filler in (b"\x80", b"\x90", b"\xa0", b"\xbf"):
            try:
                char = (pending + filler + b"\x80" * (missing - 1)).decode("utf-8")
            except UnicodeDecodeError:
                continue
            if len(char) == 1:
                return char
    return None
