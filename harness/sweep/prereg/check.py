"""`prereg check`: is the sweep the one that was locked, and did it hit the windows?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import RunMismatchError
from harness.sweep.analysis import SweepAnalysis, analyse
from harness.sweep.folder import SweepFolder, SweepRecord, read_record
from harness.sweep.prereg.lock_file import PreregLock, read_lock
from harness.sweep.prereg.outcomes import TestOutcome, judge
from harness.sweep.prereg.severity import expected_hits, severity
from harness.sweep.provenance import ANALYSIS, OnCodeChange, code_meanings, digest, refuse, tell_changes
from harness.sweep.results import SweepResult, read_results


@dataclass(frozen=True, slots=True)
class PreregReport:
    """A locked sweep, checked.

    Attributes:
        lock: the prediction.
        analysis: what came out.
        outcomes: hit, miss or open per test.
        first_run: when the first run started, None where none has.
        code_changes: what differs from the locked code and was allowed to, in words.
    """

    lock: PreregLock
    analysis: SweepAnalysis
    outcomes: tuple[TestOutcome, ...]
    first_run: str | None
    code_changes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every planned run is there."""
        return self.analysis.finished == self.analysis.planned

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers; None for an end that is infinite."""
        allowed = {"allowed_code_changes": list(self.code_changes)} if self.code_changes else {}
        return {
            **allowed,
            "locked": self.lock.locked,
            "first_run": self.first_run,
            "complete": self.complete,
            "rules": self.lock.rules,
            "expected_by_chance": expected_hits(self.lock.plan, self.lock.tests),
            "tests": [
                {
                    **outcome.test.model_dump(),
                    "outcome": outcome.outcome,
                    "outcome_today": outcome.today,
                    "severity": asdict(severity(self.lock.plan, outcome.test)),
                    "measured": None if outcome.measured is None else _finite(asdict(outcome.measured)),
                }
                for outcome in self.outcomes
            ],
            "analysis": self.analysis.to_dict(),
        }


def require_lock(
    folder: SweepFolder, record: SweepRecord, on_code_change: OnCodeChange = refuse
) -> PreregLock:
    """Refuse to begin a sweep whose lock was made for another plan, other checkpoints or other code.

    Args:
        folder: of the sweep.
        record: what it would begin with.
        on_code_change: told what differs where the code isn't the locked one; refuses it by default.

    Raises:
        RunMismatchError: the message says what differs.
        DataError: the lock can't be read.
    """
    locked = read_lock(folder.lock)
    _require_same(locked, record, on_code_change)
    return locked


def check(folder: SweepFolder, on_code_change: OnCodeChange = refuse) -> PreregReport:
    """Compare a sweep with its lock.

    Args:
        folder: a sweep's, or a copy with `prereg.json`, `sweep.json` and `results.csv`.
        on_code_change: told what differs where code isn't the locked one, as the report then says; refuses it
            by default.

    Raises:
        DataError: no lock, no sweep, or files that can't be read.
        RunMismatchError: the sweep isn't the locked one: it started before the lock, or plan, checkpoints,
            code or the lock itself differ.
    """
    locked, record = read_lock(folder.lock), read_record(folder)
    if record.lock_sha256 is None:
        raise RunMismatchError(f"the sweep began {record.created} without a lock; nothing was predicted")
    if folder.lock_sha256() != record.lock_sha256:
        raise RunMismatchError("prereg.json was changed after the sweep began; restore it")
    changes: list[str] = []

    def keep(change: str) -> None:
        on_code_change(change)
        changes.append(change)

    _require_same(locked, record, keep)
    results = [result for result in read_results(folder.path) if _planned(result, locked)]
    first_run = min((result.started for result in results), default=None)
    for moment, what in ((record.created, "the sweep began"), (first_run, "its first run started")):
        if moment is not None and moment < locked.locked:
            raise RunMismatchError(f"{what} {moment}, before the lock of {locked.locked}: no prediction")
    _require_locked_code(results, locked, record, keep)
    analysis = analyse(locked.plan, results, locked.base_strict, locked.rules)
    return PreregReport(
        lock=locked,
        analysis=analysis,
        outcomes=judge(locked.plan, locked.tests, analysis, results, locked.rules),
        first_run=first_run,
        code_changes=tuple(changes),
    )


def _require_same(locked: PreregLock, record: SweepRecord, on_code_change: OnCodeChange) -> None:
    if locked.plan != record.plan:
        raise RunMismatchError("the plan is not the locked one; run the locked plan, or lock this one anew")
    for role, sha256 in locked.checkpoints.items():
        if record.checkpoints.get(role) != sha256:
            raise RunMismatchError(f"the {role} is not the checkpoint the lock was made with")
    if locked.training_code != record.training_code:
        what = "the training code has changed between lock and sweep"
        tell_changes(what, locked.training_meanings(), record.training_meanings(), on_code_change)


def _require_locked_code(
    results: Sequence[SweepResult], locked: PreregLock, record: SweepRecord, on_code_change: OnCodeChange
) -> None:
    what = f"the analysis code has changed since the lock of {locked.locked}"
    tell_changes(what, locked.analysis_meanings(), code_meanings(ANALYSIS), on_code_change)
    expected = {digest(locked.training_code), digest(record.training_code)}
    if others := [result for result in results if result.training_code not in expected]:
        on_code_change(
            f"{len(others)} runs were made with other code than the locked one, first "
            f"{others[0].arm} λ = {others[0].lam:g} seed {others[0].seed}"
        )


def _planned(result: SweepResult, locked: PreregLock) -> bool:
    arm = next((arm for arm in locked.plan.arms if arm.name == result.arm), None)
    return arm is not None and result.lam in arm.lambdas and result.seed in locked.plan.seeds


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: a ratio to an onset at λ = 1 has no finite end."""
    return {
        name: None if isinstance(value, float) and math.isinf(value) else value
        for name, value in fields.items()
    }
