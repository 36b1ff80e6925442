"""A sweep on disk.

sweep.json            plan, checkpoints, code and lock that all its runs have in common
prereg.json           the lock, where `harness prereg lock` wrote one before
base/                 evaluation of the base (a run directory)
rollouts/…/seed-S/    rollouts that the runs of a seed share, with fixed staleness
runs/ARM/lambda-L/seed-S/   train/, eval/ (run directories), result.json
results.csv           all results
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.engines.checkpoint import find_checkpoint
from harness.errors import DataError, RunMismatchError
from harness.files import resumable, write_text
from harness.runs.manifest import describe_code, describe_git, describe_host, installed_packages, now
from harness.settings import first_problem
from harness.sweep.plan import SweepPlan, SweepRun
from harness.sweep.provenance import (
    TRAINING,
    OnCodeChange,
    changed_modules,
    code_meanings,
    digest,
    from_file_hashes,
    refuse,
    tell_changes,
)
from harness.sweep.results import RESULT

SWEEP = "sweep.json"
LOCK = "prereg.json"


class CodeChange(BaseModel):
    """Training code that changed in the middle of a sweep, and was allowed to.

    Attributes:
        noticed: when.
        changed: modules that mean something else than at the beginning.
        training_code: what made the runs from then on.
        harness: its version and commit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    noticed: str
    changed: tuple[str, ...]
    training_code: dict[str, str]
    harness: dict[str, Any]


class SweepRecord(BaseModel):
    """What every run of a sweep rests on.

    Attributes:
        version: of this format; in the first `training_code` held the hash of every file by its path.
        plan: the plan.
        created: when the sweep began, before its first run.
        checkpoints: `teacher` and `base`, hash of each.
        training_code: modules that decide a run, meaning of each.
        code_changes: what it was changed to since.
        harness: version and commit that began the sweep.
        lock_sha256: of `prereg.json` as it was when the sweep began, None without one.
        git: commit and dirty flag of the working directory.
        packages: versions.
        host: machine that began it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1, 2] = 1
    plan: SweepPlan
    created: str
    checkpoints: dict[str, str]
    training_code: dict[str, str]
    code_changes: tuple[CodeChange, ...] = ()
    harness: dict[str, Any] | None = None
    lock_sha256: str | None
    git: dict[str, Any] | None
    packages: dict[str, str]
    host: dict[str, Any]

    def training_meanings(self) -> dict[str, str]:
        """`training_code`, also of a record of the first format."""
        return from_file_hashes(self.training_code) if self.version == 1 else self.training_code


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """Where the parts of a sweep lie."""

    path: Path

    @property
    def record(self) -> Path:
        """The file `sweep.json`."""
        return self.path / SWEEP

    @property
    def lock(self) -> Path:
        """The file `prereg.json`."""
        return self.path / LOCK

    @property
    def base(self) -> Path:
        """Evaluation of the base."""
        return self.path / "base"

    def run(self, run: SweepRun) -> Path:
        """Folder of one run."""
        return self.path / "runs" / run.name

    def result(self, run: SweepRun) -> Path:
        """Its result, written last."""
        return self.run(run) / RESULT

    def rollouts(self, plan: SweepPlan, run: SweepRun) -> Path:
        """Rollouts that this run shares with all of its seed whose pool is as large."""
        pool = plan.training.rollout_batch or plan.training.batch_size
        return self.path / "rollouts" / f"pool-{pool}" / f"seed-{run.seed}"

    def lock_sha256(self) -> str | None:
        """SHA-256 of `prereg.json`, None without one."""
        return hashlib.sha256(self.lock.read_bytes()).hexdigest() if self.lock.exists() else None

    def finished(self, plan: SweepPlan) -> int:
        """How many of the plan's runs have a result."""
        return sum(self.result(run).exists() for run in plan.runs())


def checkpoint_hashes(plan: SweepPlan) -> dict[str, str]:
    """Hash of teacher and base as they lie on the disk.

    Raises:
        HarnessError: one of them is no checkpoint.
    """
    return {"teacher": find_checkpoint(plan.teacher).sha256, "base": find_checkpoint(plan.base).sha256}


def new_record(plan: SweepPlan, lock_sha256: str | None) -> SweepRecord:
    """The record of a sweep that begins now."""
    return SweepRecord(
        version=2,
        plan=plan,
        created=now(),
        checkpoints=checkpoint_hashes(plan),
        training_code=code_meanings(TRAINING),
        harness=describe_code(),
        lock_sha256=lock_sha256,
        git=describe_git(Path.cwd()),
        packages=installed_packages(),
        host=describe_host(),
    )


def read_record(folder: SweepFolder) -> SweepRecord:
    """The record of a sweep.

    Raises:
        DataError: there is none, or it can't be read.
    """
    try:
        return SweepRecord.model_validate_json(folder.record.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"{folder.path} holds no sweep; make one with `harness sweep PLAN --out {folder.path}`"
        ) from error
    except (OSError, ValidationError) as error:
        raise DataError(f"{folder.record} can't be read: {first_problem(error)}") from error


def require_same(
    record: SweepRecord, plan: SweepPlan, lock_sha256: str | None, on_code_change: OnCodeChange = refuse
) -> tuple[SweepRecord, str]:
    """Refuse to go on with a sweep whose plan, checkpoints, code or lock are not what it began with.

    Args:
        record: of the sweep.
        plan: what is asked for.
        lock_sha256: of the lock that lies in its folder.
        on_code_change: told what differs where the training code means something else than before; refuses it
            by default.

    Returns:
        The record, with the change that was allowed if there is one, and the hash that results of the
        present code carry.

    Raises:
        RunMismatchError: the message says what changed.
    """
    if record.plan != plan:
        raise RunMismatchError("the plan is not the one this sweep began with; choose another `out=`")
    for role, sha256 in checkpoint_hashes(plan).items():
        if record.checkpoints[role] != sha256:
            raise RunMismatchError(f"the {role} is not the one this sweep began with; choose another `out=`")
    if record.lock_sha256 != lock_sha256:
        raise RunMismatchError("prereg.json is not the one this sweep began with; restore it")
    code = code_meanings(TRAINING)
    if not changed_modules(record.training_meanings(), code):
        return record, digest(record.training_code)
    for change in record.code_changes:
        if not changed_modules(change.training_code, code):
            return record, digest(change.training_code)
    what = "the training code has changed since this sweep began"
    changed = tell_changes(what, record.training_meanings(), code, on_code_change)
    change = CodeChange(noticed=now(), changed=tuple(changed), training_code=code, harness=describe_code())
    return record.model_copy(update={"code_changes": (*record.code_changes, change)}), digest(code)


def write_json(path: Path, content: object) -> None:
    """Replace a file of a sweep by an indented JSON document."""
    with resumable(path):
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
