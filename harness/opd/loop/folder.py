"""The directory of a distillation run: its lock, its manifest, and the states it can go on from."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from harness import files
from harness.contract import Contract
from harness.data.loading import LoadedDataset
from harness.engines.config import installed_version
from harness.errors import HarnessError, IncompleteError, Interrupted, RunMismatchError, words_of
from harness.masking import masked
from harness.opd.config import OPDConfig
from harness.opd.forecast_limit import ForecastLimit
from harness.opd.loop.log import LOG, keep_until
from harness.opd.loop.watch import Stop, StoppedByGuardError
from harness.opd.models.loading import Checkpoints
from harness.opd.rounds.round import rollouts_sha256
from harness.runs.manifest import describe_git, describe_host, installed_packages, now

MANIFEST = "manifest.json"
LOCK = ".lock"
CHECKPOINT = "checkpoint"
LAST_GOOD = "last-good"
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
    "prompting",
    "rollouts",
    "resume",
    "keep_every",
    "forecast",
)
SINCE: dict[str, Any] = {"plausible": 0.0}
"""Options that runs of earlier versions lack, with what those did."""


class RunFolder:
    """A run directory held by this process (or by the main one of several)."""

    def __init__(
        self,
        config: OPDConfig,
        checkpoints: Checkpoints,
        dataset: LoadedDataset,
        limit: ForecastLimit | None = None,
    ) -> None:
        """Describe the run; nothing is written yet."""
        self.path = config.out
        self._resume = config.resume
        # Set by torchrun and accelerate launch, before any of them is asked.
        self._is_main = int(os.environ.get("RANK", "0")) == 0
        self._identity = _identity(config, checkpoints, dataset, limit)
        self._manifest: dict[str, Any] = {}

    @property
    def log(self) -> Path:
        """One line a step."""
        return self.path / LOG

    @property
    def checkpoint(self) -> Path:
        """The trained student, when all is done; of a run that its guard stopped the last good one."""
        return self.path / CHECKPOINT

    @property
    def last_good(self) -> Path:
        """While a guarded run goes on: the newest student whose own rollouts showed no fall."""
        return self.path / LAST_GOOD

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
            StoppedByGuardError: its guard has stopped it, now or in an earlier session.
            IncompleteError: the block couldn't write.
            Interrupted: it was interrupted.
        """
        if not self._is_main:
            self._manifest = self._stored()
            self._require_not_stopped(self._manifest)
            yield self._resume and self._manifest.get("status") == "complete"
            return
        known = self._known()
        with files.output(self.path, "choose another `out=`"):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = files.lock(self.path / LOCK)
            files.clear_drafts(self.path)
        try:
            with lock:
                self._require_not_stopped(known)
                if known.get("status") == "complete":
                    self._manifest = known
                    yield True
                    return
                self._begin(known, warnings)
                try:
                    yield False
                except StoppedByGuardError:
                    raise  # `stop` has noted it
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

    @property
    def warnings(self) -> list[str]:
        """What the user should know of the run, one line each."""
        return list(self._manifest.get("warnings", ()))

    def warn(self, said: str) -> None:
        """Note a warning, once."""
        if said not in self.warnings:
            self.update(warnings=[*self.warnings, said])

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
                theirs = _in_words_of_today(theirs)
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
        self._clear()

    def stop(self, step: int, steps: int, stop: Stop, good: int) -> str:
        """The guard ends the run: the last good student becomes `checkpoint/`.

        Args:
            step: how many were done.
            steps: how many there were to be.
            stop: why.
            good: after how many the last good student was kept; 0 where none was.

        Returns:
            What to say of it.
        """
        if self._is_main and good and self.last_good.is_dir():
            # Not there any more where a run was killed between this and the manifest.
            shutil.rmtree(self.checkpoint, ignore_errors=True)
            files.move(self.last_good, self.checkpoint)
        kept = "no student before it was kept as good"
        if good:
            kept = f"{self.checkpoint} is the last good student, after step {good}"
        words = (
            f"stopped by its guard after step {step} of {steps}: {stop.words}; {kept}, "
            f"{self.checkpoint_at(step)} the one it stopped at. It doesn't go on; begin another with a "
            "smaller λ"
        )
        told = {"by": stop.by, "words": words, "step": step, "last_good_step": good}
        self.update(status="stopped", finished=now(), step=step, stopped=told)
        self._clear()
        return words

    def _require_not_stopped(self, known: dict[str, Any]) -> None:
        """A run that was stopped ends there again, in the same words."""
        if known.get("status") == "stopped":
            raise StoppedByGuardError(str(known["stopped"]["words"]))

    def _clear(self) -> None:
        if self._is_main:
            for place in (self.path / STATES, self.last_good):
                shutil.rmtree(place, ignore_errors=True)


def _identity(
    config: OPDConfig, checkpoints: Checkpoints, dataset: LoadedDataset, limit: ForecastLimit | None
) -> dict[str, Any]:
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
        "prompt": _prompt(config),
        "rollouts": None if stored is None else {"path": str(stored), "sha256": rollouts_sha256(stored)},
        "forecast": None if limit is None else asdict(limit),
    }


def _prompt(config: OPDConfig) -> dict[str, Any] | None:
    """What prompts are made of; None of the default prompt, of which earlier versions say nothing."""
    record = config.prompting.record()
    return None if record.sha256 is None else record.model_dump(mode="json") | {"sha256": record.sha256}


def _in_words_of_today(options: dict[str, Any]) -> dict[str, Any]:
    """Options that an earlier version wrote, as this one would."""
    said = SINCE | options
    try:
        return said | {"contract": Contract.model_validate(said["contract"]).model_dump()}
    except (HarnessError, ValueError, KeyError):
        return said  # No contract of any version: it won't be equal to one.


def _said(error: BaseException) -> str:
    return masked(words_of(error))


def _difference(mine: Any, theirs: Any) -> str:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for name, value in mine.items():
            if json.loads(json.dumps(value)) != theirs.get(name):
                return f"{name}: {_difference(value, theirs.get(name))}"
    return f"{theirs} there, {mine} here"
