"""One part of a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["bad", "against", "open", "good", "known"]
"""In the order in which a sentence has them."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One part of the sentence.

    Attributes:
        subject: what it is about: `size`, `format`, `ranking on all answers`, `contract`, `cliff` …
        claim: the words that carry it.
        kind: whether it speaks against the run, or against it by less than the margin, leaves the question
            open, speaks for it, or is a fact without a verdict.
        detail: the numbers behind it.
        metrics: names of the metrics whose comparison with the baseline it states.
        word: what that comparison came to, as in its table; empty where it states none.
    """

    subject: str
    claim: str
    kind: Kind
    detail: str = ""
    metrics: tuple[str, ...] = ()
    word: str = ""
