"""The one room of llguidance: its tokenizer for a vocabulary, its matchers for terms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from harness.contract import Terms
from harness.errors import EngineUnavailableError, HarnessError
from harness.rollouts.schema_grammar import RefusedSchemaError, grammar_of

BoolArray = npt.NDArray[np.bool_]

# Bytes that no UTF-8 text holds; the engine marks special tokens with the last of them.
_NO_TEXT: Final = (0xFE, 0xFF)
_LONGEST: Final = 200
_MOST_GRAMMARS: Final = 256
"""Kept at once: with a schema a row there may be any number."""


class NoClassesError(HarnessError):
    """A contract whose classes of next tokens can't be said."""


class GrammarEngine:
    """llguidance for one vocabulary.

    Args:
        vocabulary: bytes of each token id; None or empty for ids that stand for no text.
        end_ids: ids that end a completion.

    Raises:
        EngineUnavailableError: llguidance isn't installed.
    """

    def __init__(self, vocabulary: Sequence[bytes | None], end_ids: Sequence[int]) -> None:
        self._library = _library()
        self._grammars: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._count = len(vocabulary)
        ends = frozenset(end_ids)
        first: dict[bytes, int] = {}
        self._known_as: dict[int, int] = {}
        tokens: list[bytes] = []
        for token_id, content in enumerate(vocabulary):
            if not content or token_id in ends or any(byte in content for byte in _NO_TEXT):
                tokens.append(b"")
            elif content in first:
                tokens.append(b"")
                self._known_as[token_id] = first[content]
            else:
                first[content] = token_id
                tokens.append(content)
        self._others = np.array(list(self._known_as), dtype=np.int64)
        self._firsts = np.array(list(self._known_as.values()), dtype=np.int64)
        # An end of its own: which ids end an answer is added here, and ids without text may be no end.
        tokens.append(b"")
        wrapped = self._library.TokenizerWrapper(_Spelled(tokens))
        self._tokenizer = self._library.LLTokenizer(wrapped, slices=[])

    def known_as(self, token_id: int) -> int:
        """The id under which the engine knows a token; of several with the same bytes it knows one."""
        return self._known_as.get(token_id, token_id)

    def bits(self, matcher: Any) -> BoolArray:
        """[V] which tokens may come next, without the ends.

        Raises:
            HarnessError: the engine gave up.
        """
        mask = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        if matcher.is_error():
            raise HarnessError(f"the grammar engine gave up: {_in_one_line(matcher.get_error())}")
        return np.unpackbits(mask, count=self._count, bitorder="little").astype(bool)

    def with_same(self, bits: BoolArray) -> BoolArray:
        """[V] likewise for the tokens that have the bytes of another."""
        bits[self._others] = bits[self._firsts]
        return bits

    def _grammar(self, terms: Terms) -> tuple[str, tuple[str, ...]]:
        schema = schema_of(terms)
        text = json.dumps(schema)
        if text not in self._grammars:
            if len(self._grammars) >= _MOST_GRAMMARS:
                self._grammars.clear()
            try:
                self._grammars[text] = grammar_of(schema, self._refuses)
            except RefusedSchemaError as error:
                raise NoClassesError(_refusal(str(error))) from None
            except RecursionError:
                raise NoClassesError(_refusal("it nests too deep to be read")) from None
            except (TypeError, AttributeError):
                raise NoClassesError(_refusal("it is no JSON Schema")) from None
        return self._grammars[text]

    def unsaid(self, terms: Terms) -> tuple[str, ...]:
        """What a grammar leaves out, less what is taken out of classes by other means."""
        ranks = terms.contract.kind == "listwise"
        return tuple(one for one in self._grammar(terms)[1] if not (ranks and one == "uniqueItems"))

    def matcher(self, terms: Terms) -> Any:
        """A matcher before the first token.

        Raises:
            NoClassesError: the engine refuses the grammar.
        """
        grammar, _ = self._grammar(terms)
        found = self._library.LLMatcher(self._tokenizer, grammar, log_level=0)
        if found.is_error():
            raise NoClassesError(_refusal(found.get_error()))
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


def _in_one_line(reason: str) -> str:
    words = " ".join(reason.split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _refusal(reason: str) -> str:
    # Behind its first line stands the grammar, or a backtrace; of a regex, what is wrong with it.
    whole = reason.strip()
    plain = _in_one_line(whole.partition("\n")[0] if whole.startswith(("at ", "panic")) else whole)
    return (
        f"no classes of next tokens for this contract: {plain}. λ*, λ reached by role and the guard's roles "
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
    """The JSON Schema of an answer, `false` too."""
    if terms.contract.kind == "schema":
        return json.loads(str(terms.whole_schema))
    return terms.json_schema()
