"""What a run does with its guard: λ of each round, the last good student, the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.cliff.reached import Reached
from harness.contract.states import roles_of
from harness.opd.config import OPDConfig
from harness.opd.forecast_limit import ForecastLimit
from harness.opd.loop.folder import RunFolder
from harness.opd.loop.guard import NOTED, GuardReading, LambdaGuard, ratio_of
from harness.opd.loop.watch import ForecastGuard, StoppedByGuardError, Watched
from harness.opd.rounds.making import Rounds
from harness.opd.rounds.round import Round

LAMBDA_STATE, WATCH_STATE = "guard.npz", "watch.json"
_UNREAD = "the guard couldn't read λ reached"


class Guarding:
    """The guard that a run asked for, round by round.

    Attributes:
        held: λ of the round, and what allows it.
        seen: what the round's rollouts said; None where nobody looks.
    """

    def __init__(
        self,
        config: OPDConfig,
        limit: ForecastLimit | None,
        folder: RunFolder,
        rounds: Rounds,
        write_student: Callable[[Path], Path],
    ) -> None:
        """Start before the first round.

        Args:
            config: of the run.
            limit: of its forecast; None where the guard goes by none.
            folder: of the run.
            rounds: that it reads.
            write_student: writes the student as it is as a checkpoint; every process calls it.
        """
        self._config, self._folder, self._rounds = config, folder, rounds
        self._write_student = write_student
        self._edge = LambdaGuard(
            config.guard, config.lam, config.clip, config.guard_epsilon, config.guard_confidence, config.seed
        )
        self._watch = None if limit is None else ForecastGuard(config, limit)
        self._good = 0
        self._warned = False
        self.held = GuardReading(config.lam, None, False, None, None)
        self.seen: Watched | None = None

    def begin(self, step: int, drawn: Round, reached: Reached | str | None) -> None:
        """Settle λ of a round that was just drawn, and judge the student that drew it.

        Args:
            step: optimizer steps done.
            drawn: the round.
            reached: where the student stands, or why that isn't known; None where nobody looked.

        Raises:
            StoppedByGuardError: the run ends here.
        """
        if self._watch is None:
            self._keep_to_edge(step, drawn)
            return
        if step == 0:
            for said in self._watch.notes():
                self._folder.warn(said)
        self.held = self._watch.held()
        if self._watch.watches:
            self._look(step, drawn, reached, self._watch)

    def _keep_to_edge(self, step: int, drawn: Round) -> None:
        config, about = self._config, drawn.about
        records = self._rounds.gathered(drawn.records)
        self._edge.ratio = ratio_of(config, about.behaviour_sha256, about.base_sha256)
        # Once a run, also where an earlier version began it.
        noted = any(one.startswith(NOTED) for one in self._folder.warnings)
        if not noted and (said := self._edge.note(records)) is not None:
            self._folder.warn(said)
        self.held = self._edge.hold(records)
        if not self.held.exceeded or self._warned:
            return
        self._warned = True
        done = "λ is held there" if config.guard == "enforce" else "λ stays as it is"
        self._folder.warn(
            f"step {step + 1}: λ = {config.lam:g} is above the guard's limit of {self.held.limit:.4g} "
            f"({self._edge.ratio.words}); {done}"
        )

    def _look(self, step: int, drawn: Round, reached: Reached | str | None, watch: ForecastGuard) -> None:
        config = self._config
        stop = watch.place(reached) if isinstance(reached, Reached) else None
        if isinstance(reached, str) and not any(_UNREAD in one for one in self._folder.warnings):
            self._folder.warn(f"{_UNREAD} before step {step + 1}: {reached}")
        self.seen = watch.look(*self._rounds.outcomes(drawn))
        if stop is not None and self.seen.stop is None:
            self.seen = replace(self.seen, stop=stop)
        if self.seen.stop is not None:
            self._write_student(self._folder.checkpoint_at(step))
            words = self._folder.stop(step, config.optimisation.steps, self.seen.stop, self._good)
            # A launcher ends all processes as the first one ends, the main one perhaps still writing.
            self._rounds.policies.accelerator.wait_for_everyone()
            raise StoppedByGuardError(words)
        every = config.checkpoint_every or config.log_every
        if self.seen.good and step // every > self._good // every:
            self._write_student(self._folder.last_good)
            self._good = step

    def save(self, draft: Path) -> dict[str, Any]:
        """Write what later decisions depend on into a state's folder.

        Returns:
            Plain values for the state's record.
        """
        self._edge.save(draft / LAMBDA_STATE)
        if self._watch is not None:
            self._watch.save(draft / WATCH_STATE)
        seen = None if self.seen is None else asdict(self.seen)
        return {"held": asdict(self.held), "seen": seen, "good": self._good}

    def restore(self, state: Path, record: dict[str, Any], drawn: Round | None) -> None:
        """Go on from a saved state.

        Args:
            state: its folder.
            record: its record; of earlier versions without what this one knows.
            drawn: the round it lies in; None at the beginning of one.
        """
        if drawn is not None:
            self.held = GuardReading(**{**record["held"], "estimate": None})
            seen = record.get("seen")
            self.seen = None if seen is None else Watched(**seen)
        self._edge.restore(state / LAMBDA_STATE, roles_of(self._config.contract))
        if self._watch is not None:
            self._watch.restore(state / WATCH_STATE)
        self._good = int(record.get("good", 0))
        self._warned = any("above the guard's limit" in one for one in self._folder.warnings)
