"""The directory of a distillation run: its lock, its manifest, and the states it can go on from."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from harness import files
from harness.data.loading import LoadedDataset
from harness.engines.config import installed_version
from harness.errors import HarnessError, IncompleteError, Interrupted, RunMismatchError, words_of
from harness.masking import masked
from harness.opd.config import OPDConfig
from harness.opd.loop.log import LOG, keep_until
from harness.opd.models.loading import Checkpoints
from harness.opd.rounds.round import rollouts_sha256
from harness.runs.manifest import describe_git, describe_host, installed_packages, now

MANIFEST = "manifest.json"
LOCK = ".lock"
CHECKPOINT = "checkpoint"
ROLLOUT_FOLDER = "rollouts"
STATES = "state"
# Fields of the configuration that have a place of their own in the manifest, or don't decide the weights.
ELSEWHERE = (
    "teacher",
    "base",
    "student",
    "out",
    "lam",
    "clip",
    "data",
    "split",
    "limit",
    "rollouts",
    "resume",
    "keep_every",
)
SINCE: dict[str, Any] = {"plausible": 0.0}
"""Options that runs of earlier versions lack, with what those did."""


class RunFolder:
    """A run directory held by this process (or by the main one of several)."""

    def __init__(self, config: OPDConfig, checkpoints: Checkpoints, dataset: LoadedDataset) -> None:
        """Describe the run; nothing is written yet."""
        self.path = config.out
        self._resume = config.resume
        # Set by torchrun and accelerate launch, before any of them is asked.
        self._is_main = int(os.environ.get("RANK", "0")) == 0
        self._identity = _identity(config, checkpoints, dataset)
        self._manifest: dict[str, Any] = {}

    @property
    def log(self) -> Path:
        """One line a step."""
        return self.path / LOG

    @property
    def checkpoint(self) -> Path:
        """The trained student, when all is done."""
        return self.path / CHECKPOINT

    def checkpoint_at(self, step: int) -> Path:
        """The student as it was after `step`, where it was to be kept."""
        return self.path / f"{CHECKPOINT}-{step}"

    @property
    def rollouts(self) -> Path:
        """Fixed rollouts and their scores."""
        return self.path / ROLLOUT_FOLDER

    @property
    def manifest(self) -> dict[str, Any]:
        """As it stands."""
        return self._manifest

    @contextlib.contextmanager
    def held(self, warnings: Sequence[str]) -> Iterator[bool]:
        """Make or take up the directory; yields whether the run in it is complete already.

        Raises:
            HarnessError: it exists and `resume` wasn't asked for, or it can't be made.
            RunMismatchError: it belongs to another configuration, or another process works on it.
            IncompleteError: the block couldn't write.
            Interrupted: it was interrupted.
        """
        if not self._is_main:
            self._manifest = self._stored()
            yield self._resume and self._manifest.get("status") == "complete"
            return
        known = self._known()
        with files.output(self.path, "choose another `out=`"):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = files.lock(self.path / LOCK)
            files.clear_drafts(self.path)
        try:
            with lock:
                if known.get("status") == "complete":
                    self._manifest = known
                    yield True
                    return
                self._begin(known, warnings)
                try:
                    yield False
                except KeyboardInterrupt as error:
                    self._note(status="incomplete")
                    raise Interrupted(f"interrupted; go on with {self.path} by `resume=True`") from error
                except BaseException as error:
                    self._note(status="failed", error=_said(error))
                    raise
        except (OSError, SafetensorError) as error:
            raise IncompleteError(
                f"stopped by the file system ({_said(error)}); put that right and go on with {self.path} by "
                "`resume=True`"
            ) from error

    def update(self, **fields: Any) -> None:
        """Change the manifest, in one step on disk; only the main process writes."""
        self._manifest |= fields
        if self._is_main:
            text = json.dumps(self._manifest, indent=1, ensure_ascii=False, allow_nan=False)
            files.write_text(self.path / MANIFEST, text + "\n")

    def _note(self, **fields: Any) -> None:
        """Change the manifest if there is room for it: on a full disk the first error is the one to tell."""
        with contextlib.suppress(OSError):
            self.update(**fields)

    def _known(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        file = self.path / MANIFEST
        if not self._resume:
            raise HarnessError(f"{self.path} exists; name another `out=`, or go on with it by `resume=True`")
        if not file.is_file():
            # Killed before its first line, or made by someone else: the first is an empty folder.
            if not self.path.is_dir() or any(
                one.name != LOCK and not files.is_draft(one) for one in self.path.iterdir()
            ):
                raise HarnessError(f"{self.path} holds no training run; name another `out=`")
            return {}
        known = self._stored()
        for name, mine in self._identity.items():
            theirs = known.get(name)
            if name == "options" and isinstance(theirs, dict):
                theirs = SINCE | theirs
            if json.loads(json.dumps(mine)) != theirs:
                raise RunMismatchError(
                    f"{self.path} is a run of another configuration ({name}: {_difference(mine, theirs)}); "
                    "choose another `out=`"
                )
        return known

    def _stored(self) -> dict[str, Any]:
        file = self.path / MANIFEST
        try:
            stored: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
        except ValueError as error:
            raise HarnessError(f"{file} can't be read as JSON; name another `out=`") from error
        return stored

    def _begin(self, known: dict[str, Any], warnings: Sequence[str]) -> None:
        sessions = [*known.get("sessions", []), now()]
        self._manifest = (
            {"kind": "opd", "status": "running"}
            | self._identity
            | {
                "started": known.get("started", sessions[-1]),
                "finished": None,
                "sessions": sessions,
                "step": known.get("step", 0),
                "warnings": known.get("warnings", list(warnings)),
                "packages": installed_packages() | {"accelerate": installed_version("accelerate")},
                "git": describe_git(Path(__file__).parent),
                "host": describe_host(),
            }
        )
        self.update()

    def last_state(self) -> Path | None:
        """The latest saved state, whole; None before the first."""
        return max((one for one in (self.path / STATES).glob("step-*") if not one.suffix), default=None)

    def draft_state(self, step: int) -> Path:
        """A folder to save the state after `step` in; `keep_state` gives it its name."""
        state = self._state(step)
        return files.empty_draft(state) if self._is_main else files.draft_of(state)

    def keep_state(self, draft: Path, step: int) -> None:
        """All of `draft` is written: from now on the run goes on from here."""
        if self._is_main:
            files.keep(draft, self._state(step))
            for other in (self.path / STATES).iterdir():
                if other != self._state(step):
                    shutil.rmtree(other)
        self.update(step=step)

    def _state(self, step: int) -> Path:
        return self.path / STATES / f"step-{step:08d}"

    def rewind(self, step: int) -> None:
        """Forget logged steps after `step`."""
        if self._is_main:
            keep_until(self.log, step)

    def finish(self, step: int, **fields: Any) -> None:
        """The run is complete; states aren't needed any more."""
        self.update(status="complete", finished=now(), step=step, **fields)
        if self._is_main:
            shutil.rmtree(self.path / STATES, ignore_errors=True)


def _identity(config: OPDConfig, checkpoints: Checkpoints, dataset: LoadedDataset) -> dict[str, Any]:
    """The parts of the manifest that must be equal for a run to be gone on with."""
    stored = config.rollouts
    return {
        "lambda": config.lam,
        "clip": config.clip,
        "options": config.model_dump(exclude=set(ELSEWHERE)),
        "checkpoints": {
            name: {"name": one.name, "sha256": one.sha256}
            for name, one in (
                ("teacher", checkpoints.teacher),
                ("base", checkpoints.base),
                ("student", checkpoints.student),
            )
        },
        "tokenizer_sha256": checkpoints.vocabulary.tokenizer_sha256,
        "data": {
            "name": dataset.name,
            "split": dataset.split,
            "path": str(dataset.path),
            "sha256": dataset.sha256,
            "tasks": len(dataset.tasks),
        },
        "rollouts": None if stored is None else {"path": str(stored), "sha256": rollouts_sha256(stored)},
    }


def _said(error: BaseException) -> str:
    return masked(words_of(error))


def _difference(mine: Any, theirs: Any) -> str:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for name, value in mine.items():
            if json.loads(json.dumps(value)) != theirs.get(name):
                return f"{name}: {_difference(value, theirs.get(name))}"
    return f"{theirs} there, {mine} here"
