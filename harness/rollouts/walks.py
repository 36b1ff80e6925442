"""Completions walked through the contract: for every token its role and the class it should come from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.contract import Role, Terms
from harness.rollouts.classes import Classes

IdArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """The positions of one completion up to the first token that leaves the contract or ends the answer.

    Attributes:
        roles: [n] role of each position.
        decisions: [n] number of the decision that the token there takes part in: several tokens are one where
            they only delay it (blanks) or spell it out.
        indices: [n] how many decisions of this role came before.
        classes: [n] ids of the tokens that keep the contract there.
        members: [n] whether the token that stands there is one.
    """

    roles: tuple[Role, ...]
    decisions: tuple[int, ...]
    indices: tuple[int, ...]
    classes: tuple[IdArray, ...]
    members: tuple[bool, ...]

    @property
    def finished(self) -> bool:
        """Whether it goes through to the end of an answer that keeps the contract."""
        return self.members[-1] and self.roles[-1] == "end"


class Walker:
    """Walks completions of one vocabulary; positions with the same class share one array."""

    def __init__(self, classes: Classes[Any]) -> None:
        self._classes = classes
        self._arrays: dict[bytes, IdArray] = {}
        self._met: dict[int, tuple[IdArray, IdArray]] = {}

    def __call__(self, terms: Terms, token_ids: Sequence[int]) -> Walk:
        """Positions of a completion.

        Raises:
            HarnessError: there are no classes for these terms.
        """
        state = self._classes.start(terms)
        seen: Counter[Role] = Counter()
        still_open = False
        roles: list[Role] = []
        decisions: list[int] = []
        indices: list[int] = []
        classes: list[IdArray] = []
        members: list[bool] = []
        for token_id in token_ids:
            ids = self._classes.members(state)
            seen[state.role] += not still_open
            roles.append(state.role)
            decisions.append(seen.total() - 1)
            indices.append(seen[state.role] - 1)
            classes.append(self._shared(ids))
            members.append(self._classes.is_member(state, token_id))
            following, still_open = self._classes.follow(state, token_id)
            if following is None:
                break
            state = following
        return Walk(tuple(roles), tuple(decisions), tuple(indices), tuple(classes), tuple(members))

    def _shared(self, ids: IdArray) -> IdArray:
        """The one array of this content; a class may be the whole vocabulary, so it is read through once."""
        if id(ids) not in self._met:
            digest = hashlib.blake2b(ids.tobytes(), digest_size=16).digest()
            # The array is kept too: while it is, no other has its id.
            self._met[id(ids)] = (ids, self._arrays.setdefault(digest, ids))
        return self._met[id(ids)][1]
