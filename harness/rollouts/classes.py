"""Classes of next tokens: what says them for a contract, and what identifies them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from harness.contract import Contract, Role, Terms
from harness.contract.model import ROW
from harness.contract.tokens import TokenClasses
from harness.engines.vocabulary import Vocabulary


class HasRole(Protocol):
    """Where an answer stands after whole tokens."""

    @property
    def role(self) -> Role:
        """Role of the position at which the next token stands."""


State = TypeVar("State", bound=HasRole)


class Classes(Protocol[State]):
    """Equivalence classes of one vocabulary: the tokens after which some valid answer is still possible."""

    def start(self, terms: Terms) -> State:
        """State before the first token of an answer."""

    def members(self, state: State) -> npt.NDArray[np.int64]:
        """Ids of the class at `state`, ascending."""

    def is_member(self, state: State, token_id: int) -> bool:
        """Whether one token is in the class at `state`."""

    def follow(self, state: State, token_id: int) -> tuple[State | None, bool]:
        """State after one more token, and whether that leaves the decision it takes part in open.

        None when the token breaks the contract or ends the answer.
        """

    def unsaid(self, terms: Terms) -> tuple[str, ...]:
        """What of the contract the classes leave out, so that they are too wide."""


def classes_of(vocabulary: Vocabulary, contract: Contract) -> Classes[Any]:
    """The classes of a contract: an automaton's where it reads the contract, a grammar engine's elsewhere.

    Raises:
        EngineUnavailableError: the grammar engine is needed and isn't installed.
    """
    if contract.is_plain:
        return TokenClasses(vocabulary.contents, vocabulary.end_ids, contract)
    from harness.rollouts.grammar_classes import GrammarClasses

    return GrammarClasses(vocabulary.contents, vocabulary.end_ids)


def require_classes(vocabulary: Vocabulary, contract: Contract) -> None:
    """Refuse a contract without classes before anything is drawn; that of a task's own schema shows later.

    Raises:
        NoClassesError: the grammar engine takes no such contract; the message says why.
        EngineUnavailableError: the grammar engine is needed and isn't installed.
    """
    if contract.is_plain or contract.schema_ == ROW:
        return
    ranks = contract.kind == "listwise"
    few = Terms(contract, 2, ("1", "2") if contract.ids == "item_id" else ()) if ranks else Terms(contract, 0)
    classes_of(vocabulary, contract).start(few)


def classes_identity(vocabulary: Vocabulary, contract: Contract, terms: Iterable[Terms]) -> str:
    """What decides the classes of some answers, in words that are equal only if all of it is.

    Args:
        vocabulary: of the tokens.
        contract: of the answers.
        terms: of each.
    """
    said = f"{vocabulary.sha256} {vocabulary.end_ids} {contract.said_before()}"
    if contract.is_plain:
        return said
    own = sorted({json.dumps([one.k, one.item_ids, one.schema]) for one in terms})
    digest = hashlib.sha256(json.dumps(own).encode()).hexdigest()
    try:
        engine = version("llguidance")
    except PackageNotFoundError:
        engine = "none"
    return f"{said} {digest} llguidance {engine}"
