"""The guard on what is measured: λ held by a forecast, and a run stopped by what its own rollouts say.

Two things end a run. Its rollouts' strict validity has surely fallen below what it had surely reached, up to
the forecast's bar (`harness.stats.fall`): the chance that this ever happens to a run whose validity keeps
what it reached is at most 1 − `guard_confidence`. Or λ reached lies past the forecast's limit by its
interval's lower end at two readings in a row: a single one of many would be past by chance now and then,
where λ itself is held at that limit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness import files
from harness.cliff.reached import Reached
from harness.cliff.resample import MIN_TASKS
from harness.errors import IncompleteError
from harness.opd.config import OPDConfig
from harness.opd.forecast_limit import ForecastLimit
from harness.opd.loop.guard import GuardReading
from harness.opd.rounds.placing import MOST_PLACED
from harness.stats.fall import FallTest

IN_A_ROW = 2
"""Readings of λ reached past the limit that stop a run."""

StoppedBy = Literal["validity", "lambda_reached"]


class StoppedByGuardError(IncompleteError):
    """The guard ended the run before its last step; its last good student is in `checkpoint/`."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a guard ends a run.

    Attributes:
        by: what told it.
        words: the reason, one clause with its numbers.
    """

    by: StoppedBy
    words: str


@dataclass(frozen=True, slots=True)
class Watched:
    """What the guard saw in a round.

    Attributes:
        stop: None where the run goes on.
        good: whether the student that drew the round shows no fall and isn't past the limit.
        kept: level of validity that the run had surely reached before the round; None before the first.
        evidence: log of the capital that was bet on a fall.
    """

    stop: Stop | None
    good: bool
    kept: float | None
    evidence: float


class RunWatch:
    """Looks at a run's rollouts, and says when it is to end."""

    def __init__(self, limit: ForecastLimit, *, looks: int, alpha: float) -> None:
        """Start before the first look.

        Args:
            limit: of the run's forecast.
            looks: how many times `look` will be called at most, ≥ 1.
            alpha: chance of ever ending a run whose validity keeps what it reached, in (0, 0.5).
        """
        self._limit = limit
        self._fall = FallTest(limit.bar, rounds=looks, alpha=alpha)
        self._past = 0
        self._above = False

    @property
    def limit(self) -> float:
        """The largest λ that the forecast shows to keep its bar."""
        return self._limit.limit

    def look(self, task: Sequence[int], strict: Sequence[bool]) -> Watched:
        """Judge a round by its rollouts' validity, before it is trained on.

        Args:
            task: [R] of each rollout; those of one task are one value.
            strict: [R] whether it keeps the contract.
        """
        _, group, counts = np.unique(np.asarray(task), return_inverse=True, return_counts=True)
        values = np.bincount(group, weights=np.asarray(strict, dtype=np.float64)) / counts
        kept = self._fall.reached
        fallen = self._fall.update(values.tolist())
        stop = None
        if fallen:
            stop = Stop(
                "validity",
                f"strict validity of its rollouts fell below {kept:.3g}, which it had surely reached (last "
                f"round: {np.mean(strict):.3g} of {len(strict)} rollouts, {len(values)} tasks)",
            )
        good = not self._above and (kept is None or bool(values.mean() >= kept))
        return Watched(stop, good, kept, self._fall.log_evidence)

    def place(self, reached: Reached) -> Stop | None:
        """Judge a reading of λ reached; `good` of the next rounds depends on it.

        Args:
            reached: of a round's own rollouts.
        """
        limit, found = self._limit.limit, reached.lambda_reached
        beyond = reached.beyond is not None and reached.beyond > 0.0
        past = beyond or (found.low is not None and found.low > limit)
        self._above = past or (found.estimate is not None and found.estimate > limit)
        self._past = self._past + 1 if past else 0
        if self._past < IN_A_ROW:
            return None
        at = found.method if beyond else f"{found.estimate:.3g} [{found.low:.3g}, {found.high or np.inf:.3g}]"
        return Stop(
            "lambda_reached",
            f"λ reached {at} lies past the forecast's limit of {limit:g}, {IN_A_ROW} readings in a row",
        )

    def save(self, path: Path) -> None:
        """Write what later decisions depend on."""
        state = {"fall": self._fall.state(), "past": self._past, "above": self._above}
        files.write_text(path, json.dumps(state, allow_nan=False) + "\n")

    def restore(self, path: Path) -> None:
        """Go on where the guard that wrote this file stopped."""
        state: dict[str, Any] = json.loads(path.read_bytes())
        self._fall.restore(state["fall"])
        self._past, self._above = int(state["past"]), bool(state["above"])


class ForecastGuard(RunWatch):
    """Holds λ at a forecast's limit, and looks at every round of fresh rollouts."""

    def __init__(self, config: OPDConfig, limit: ForecastLimit) -> None:
        """Start before the first round."""
        rounds = -(-config.optimisation.steps // config.steps_per_round)
        super().__init__(limit, looks=rounds, alpha=1.0 - config.guard_confidence)
        self._config = config

    @property
    def watches(self) -> bool:
        """Whether rounds say anything of the student: fixed rollouts don't move."""
        return self._config.staleness == "fresh"

    def held(self) -> GuardReading:
        """λ to train at."""
        limit, lam = self._limit.limit, self._config.lam
        exceeded = lam > limit
        hold = exceeded and self._config.guard == "forecast"
        return GuardReading(limit if hold else lam, limit, exceeded, None, None)

    def notes(self) -> list[str]:
        """What must be said before the first step, one line each."""
        limit, config = self._limit, self._config
        said = []
        if config.lam > limit.limit:
            shown = f"{limit.bar:.0%} strict validity is shown up to λ = {limit.limit:g}"
            shown += ", the forecast's last" if limit.at_the_end else ""
            done = "λ is held there" if config.guard == "forecast" else "λ stays as it is"
            said.append(f"λ = {config.lam:g} is beyond the forecast: {shown}; {done}")
        if not self.watches:
            said.append("fixed rollouts show nothing of the student: the guard holds λ and can't stop it")
        elif (tasks := min(config.pool, MOST_PLACED) // config.samples) < MIN_TASKS:
            said.append(
                f"λ reached is read from {tasks} tasks a round, and its interval needs {MIN_TASKS}: the "
                "guard watches validity alone; lower `samples=` or raise `rollout_batch=`"
            )
        return said
