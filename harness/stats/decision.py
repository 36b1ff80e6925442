"""The three-way answer of a test against a bar or a margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.stats.estimate import Estimate

Verdict = Literal["pass", "fail", "undecided"]
Sense = Literal[">=", "<="]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the data say about a requirement such as `rate >= bar`.

    Two one-sided tests, each at level alpha: `pass` rejects "the requirement is violated", `fail` rejects
    "the requirement holds". Whatever the truth, only one of the two verdicts can be wrong, so the chance of a
    wrong verdict is at most alpha, not 2 · alpha. At the bar itself the requirement holds: there `fail` is
    the error, and `pass` is right but comes with probability at most alpha.

    Attributes:
        verdict: `undecided` when neither test rejects.
        p_pass: p-value of "the requirement is violated".
        p_fail: p-value of "the requirement holds".
        estimate: estimate and interval at level 1 − 2 · alpha, the limits being those of the two tests.
        alpha: level of each test.
    """

    verdict: Verdict
    p_pass: float
    p_fail: float
    estimate: Estimate
    alpha: float


def decide(p_pass: float, p_fail: float, alpha: float) -> Verdict:
    """Verdict of two one-sided p-values (after a correction for multiplicity, when there is one)."""
    if p_pass <= alpha:
        return "pass"
    return "fail" if p_fail <= alpha else "undecided"


def check_alpha(alpha: float) -> None:
    """Raise ValueError unless 0 < alpha < 0.5, the range in which two one-sided tests can't both reject."""
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha!r}; it must lie strictly between 0 and 0.5")
