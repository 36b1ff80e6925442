"""Has a rate that is watched round by round fallen? An anytime-valid test with a moving reference.

What is watched moves by itself (a student in training), so no round is a sample of the next, and a bar alone
would blame a run for where it began. Doubted here is therefore: *once some round has reached a level below
the bar, no later round lies below that level.*

Two bettors as in `harness.stats.sequential`, for values x in [0, 1] with f the stake. The first bets that a
level m was reached, against "every round so far is at most m": factors 1 + f · (x / m − 1). Where he wins, m
counts as reached, and the second bets against "every later round is at least m": 1 + f · ((1 − x) / (1 − m)
− 1). When the rate rose or fell isn't known, so both begin anew with every round, with an equal share of the
capital for each: the sum over beginnings is a nonnegative supermartingale that starts at 1, and by Ville's
inequality it ever reaches 1/alpha with probability at most alpha. Shin, Ramdas & Rinaldo, "E-detectors"
(arXiv 2203.03532), for sums over beginnings; that the number of rounds is known makes the error rate one of
the whole run, where theirs is one of the time to a false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from harness.stats.decision import check_alpha
from harness.stats.sequential import FRACTIONS

LEVELS: Final = 10
"""Levels that can count as reached: this many equal parts of the bar."""

_Floats = npt.NDArray[np.float64]


class FallTest:
    """Running test of "what the rate has reached below the bar, it keeps".

    The chance of ever saying `fallen` of a rate that keeps it is at most alpha, over all rounds together and
    whenever one looks. Needed is that a round's values, given all rounds before, have the same mean and are
    independent: one value a task, the mean over its samples. Tasks drawn without replacement vary less than
    that.

    Attributes:
        reached: largest level that was surely reached; None before the first.
        fallen: whether the rate surely lies, or lay, below a level that it had reached. It stays.
        rounds: how many were seen.
    """

    def __init__(self, bar: float, *, rounds: int, alpha: float = 0.05) -> None:
        """Start without observations.

        Args:
            bar: in (0, 1]; falls that stay above it are none.
            rounds: how many there will be at most, ≥ 1.
            alpha: largest probability of a false `fallen`, in (0, 0.5). Each bettor has half of it.

        Raises:
            ValueError: a setting out of range.
        """
        check_alpha(alpha)
        if not 0.0 < bar <= 1.0:
            raise ValueError(f"bar is {bar!r}; it must lie in (0, 1]")
        if rounds < 1:
            raise ValueError(f"rounds is {rounds}; there is at least one")
        # A mean of 1 can't be seen to be reached, nor can one be seen to be above it.
        self._levels = bar * np.arange(1, LEVELS + 1) / LEVELS
        self._all = rounds
        self._needed = math.log(2.0 / alpha)
        self._rise = np.full((LEVELS, len(FRACTIONS)), -np.inf)
        self._fall = np.full(len(FRACTIONS), -np.inf)
        self.reached: float | None = None
        self.fallen = False
        self.rounds = 0

    @property
    def log_evidence(self) -> float:
        """Natural log of the capital that was bet on a fall; 0 at first, log(2/alpha) is enough."""
        return float(self._capital(self._fall))

    def update(self, values: Sequence[float]) -> bool:
        """Take the values of the next round, one a task; returns `fallen`.

        Raises:
            ValueError: none, values outside [0, 1] or not numbers, or more rounds than were foreseen.
        """
        x = np.asarray(values, dtype=np.float64)
        if not x.size or not ((x >= 0.0) & (x <= 1.0)).all():
            raise ValueError("a round has at least one value, and all lie in [0, 1]")
        if self.rounds == self._all:
            raise ValueError(f"all {self._all} rounds have been seen")
        share = -math.log(self._all)
        # The reference is what was reached before this round.
        gain = np.zeros_like(x) if self.reached is None else (1.0 - x) / (1.0 - self.reached) - 1.0
        self._fall = np.logaddexp(self._fall, share) + np.log1p(np.outer(FRACTIONS, gain)).sum(axis=1)
        above = np.log1p(np.multiply.outer(np.outer(1.0 / self._levels, x) - 1.0, FRACTIONS)).sum(axis=1)
        self._rise = np.logaddexp(self._rise, share) + above
        self.rounds += 1
        self.fallen = self.fallen or self.log_evidence >= self._needed
        # Whichever levels are in truth not reached, at most all of them: each has its part of the error.
        certain = self._capital(self._rise) >= self._needed + math.log(LEVELS)
        certain &= self._levels < 1.0
        if certain.any():
            self.reached = max(self.reached or 0.0, float(self._levels[certain].max()))
        return self.fallen

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, in plain lists and numbers."""
        return {
            "rise": _finite(self._rise),
            "fall": _finite(self._fall),
            "reached": self.reached,
            "fallen": self.fallen,
            "rounds": self.rounds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where the test of the same settings stopped that gave this state."""
        self._rise, self._fall = _array(state["rise"]), _array(state["fall"])
        self.reached, self.fallen = state["reached"], bool(state["fallen"])
        self.rounds = int(state["rounds"])

    def _capital(self, logs: _Floats) -> _Floats:
        """Log of the capital: the mean over stakes, and what is kept for beginnings to come."""
        kept = (self._all - self.rounds) / self._all
        peak = np.maximum(logs.max(axis=-1), 0.0)
        mean = np.exp(logs - peak[..., None]).mean(axis=-1)
        return np.asarray(peak + np.log(mean + kept * np.exp(-peak)))


def _finite(logs: _Floats) -> list[Any]:
    """JSON has no −∞."""
    return [_finite(row) if row.ndim else (float(row) if np.isfinite(row) else None) for row in logs]


def _array(found: list[Any]) -> _Floats:
    return np.nan_to_num(np.array(found, dtype=np.float64), nan=-np.inf)
