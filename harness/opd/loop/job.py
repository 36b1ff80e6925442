"""On-policy distillation with reward extrapolation: rollouts, advantage, clipped updates.

Per round: draw rollouts from the behaviour policy; read them under teacher and base; let the guard settle λ.
Per step of the round: read a minibatch under the student; form advantage and ratio (`harness.opd.loop.loss`);
update; log. The paper is Li et al., arXiv 2605.08737.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from harness.cliff.reached import Reached
from harness.engines.finite import NotNumbersError
from harness.errors import HarnessError, RunMismatchError
from harness.files import LineLog, new_folder
from harness.opd.config import OPDConfig, OPDRun
from harness.opd.forecast_limit import ForecastLimit, read_limit
from harness.opd.loop.folder import RunFolder
from harness.opd.loop.guard import RoleReading, read_roles
from harness.opd.loop.guarding import Guarding
from harness.opd.loop.log import OPDStep, line_fields, role_fields, token_fields
from harness.opd.loop.update import DivergenceError, StudentUpdates, Update
from harness.opd.models.loading import Checkpoints
from harness.opd.rounds.making import Rounds, load_dataset
from harness.opd.rounds.round import Round
from harness.progress import OnProgress, Progress, ignore

STAGE = "distilling"


def train_opd(config: OPDConfig, on_progress: OnProgress = ignore) -> OPDRun:
    """Distil a teacher into a student.

    The same configuration gives the same weights on the same machine, also when the run was killed and went
    on by `resume`.

    Args:
        config: what to train and how.
        on_progress: told after every step.

    Returns:
        Where the trained checkpoint is.

    Raises:
        HarnessError: `out` exists without `resume`, or options that don't go together.
        DataError: tasks or stored rollouts that can't be used.
        EngineUnavailableError: a checkpoint can't be used, or the three don't share a vocabulary.
        RunMismatchError: `out` belongs to another configuration, or another process works on it.
        DivergenceError: loss or gradient stopped being finite; the last good weights are kept.
        StoppedByGuardError: the guard ended the run, now or in an earlier session.
        IncompleteError: the file system refused to go on.
        Interrupted: by Ctrl-C or SIGTERM; `resume` goes on.
    """
    checkpoints = Checkpoints(config)
    dataset = load_dataset(config)
    limit = _limit(config, checkpoints)
    folder = RunFolder(config, checkpoints, dataset, limit)
    with folder.held(_warnings(config)) as complete:
        if complete:
            return _finished(folder, config)
        rounds = Rounds(config, checkpoints, dataset, folder.rollouts, on_progress)
        return _Training(config, folder, rounds, limit).run(on_progress)


def prepare_rollouts(config: OPDConfig, folder: Path, on_progress: OnProgress = ignore) -> Path:
    """Draw and score the fixed rollouts of a configuration, for many runs to share.

    Teacher and base logprobs and class masses are stored too, so that runs which differ in λ, c, learning
    rate or any option of the loss load neither model. Pass the result as `OPDConfig.rollouts`.

    Args:
        config: of any of those runs; its `staleness` is `fixed`.
        folder: made in one step when all is done; where it exists already nothing is done.
        on_progress: told what is being done.

    Raises:
        HarnessError: as `train_opd`.
    """
    if config.staleness != "fixed" or config.rollouts is not None:
        raise HarnessError('only fixed rollouts can be shared; set staleness to "fixed" and rollouts to None')
    if not folder.is_dir():
        checkpoints = Checkpoints(config)
        rounds = Rounds(config, checkpoints, load_dataset(config), folder, on_progress)
        rounds.fixed()
    return folder


class _Training:
    """The state of a run between its steps."""

    def __init__(
        self, config: OPDConfig, folder: RunFolder, rounds: Rounds, limit: ForecastLimit | None
    ) -> None:
        self._config = config
        self._folder = folder
        self._rounds = rounds
        self._student = StudentUpdates(config, rounds)
        self._accelerator = rounds.policies.accelerator
        self._guard = Guarding(config, limit, folder, rounds, self._write_checkpoint)
        self._round: Round | None = None
        self._roles: dict[str, RoleReading] = {}
        self._reached: Reached | str | None = None

    def run(self, on_progress: OnProgress) -> OPDRun:
        first = self._restore()
        try:
            self._train(first, on_progress)
        except DivergenceError as error:
            try:
                kept = self._write_checkpoint(self._folder.checkpoint)
            except NotNumbersError as none:
                raise DivergenceError(f"{error}; {none}") from error
            raise DivergenceError(
                f"{error}; the weights from before that step are in {kept}; lower the learning rate or λ"
            ) from error
        return self._finish(self._config.optimisation.steps)

    def _train(self, first: int, on_progress: OnProgress) -> None:
        config, steps = self._config, self._config.optimisation.steps
        main = self._accelerator.is_main_process
        with LineLog(self._folder.log) if main else nullcontext() as log:
            for step in range(first, steps):
                began = time.monotonic()
                if step % config.steps_per_round == 0 or self._round is None:
                    self._round = self._next_round(step)
                record = self._record(self._student.update(step, self._round, self._guard.held.lam), began)
                if log is not None:
                    log.append(record.line())
                note = f"λ {record.lam:.4g}, KL {record.reverse_kl:.3f}, clipped {record.clipped:.1%}"
                on_progress(Progress(STAGE, step + 1, steps, resumed=first, note=note))
                if config.keep_every and (step + 1) % config.keep_every == 0 and step + 1 < steps:
                    self._write_checkpoint(self._folder.checkpoint_at(step + 1))
                every = config.checkpoint_every
                if every and (step + 1) % every == 0 and step + 1 < steps:
                    if log is not None:
                        log.sync()  # going on from the state doesn't write these steps again
                    self._save(step + 1)

    def _next_round(self, step: int) -> Round:
        try:
            return self._begin_round(step)
        except NotNumbersError as error:
            # Before anything was moved a checkpoint is at fault.
            if step == 0:
                raise
            raise DivergenceError(f"training diverged by step {step} ({error})") from error

    def _begin_round(self, step: int) -> Round:
        """Rollouts, what teacher and base say about them, and the λ they allow."""
        number = step // self._config.steps_per_round
        drawn = self._rounds.fixed() if self._config.staleness == "fixed" else self._rounds.draw(number)
        self._roles = read_roles(self._rounds.gathered(drawn.records), self._config.clip)
        self._reached = self._rounds.place() if self._config.placed_at(step) else None
        self._guard.begin(step, drawn, self._reached)
        return drawn

    def _record(self, update: Update, began: float) -> OPDStep:
        assert self._round is not None
        tally, held, seen = self._round.about.tally, self._guard.held, self._guard.seen
        strict = tally.strict / tally.rollouts
        found, self._reached = self._reached, None
        if self._config.staleness == "fixed" and update.roles is not None:
            found = "the rollouts are fixed, and not the student's own"
        values = token_fields(self._rounds.gathered_columns(update.columns))
        return OPDStep(
            step=update.step + 1,
            round=self._round.about.number + 1,
            lam=held.lam,
            learning_rate=update.rate,
            gradient_norm=update.norm,
            roles=update.roles,
            guard_limit=held.limit,
            guard_exceeded=held.exceeded,
            guard_kept=None if seen is None else seen.kept,
            guard_evidence=None if seen is None else seen.evidence,
            parse_validity=strict,
            truncated=tally.truncated / tally.rollouts,
            seconds=round(time.monotonic() - began, 4),
            tokens_per_second=round(values["tokens"] / update.seconds, 1),
            **values,
            **role_fields(self._roles),
            **line_fields(found, held.lam, strict),
        )

    def _save(self, step: int) -> None:
        """A state from which the run goes on to the same weights."""
        accelerator = self._accelerator
        accelerator.wait_for_everyone()
        draft = self._folder.draft_state(step)
        accelerator.wait_for_everyone()
        self._write_state(draft, step)
        accelerator.wait_for_everyone()
        self._folder.keep_state(draft, step)

    def _write_state(self, draft: Path, step: int) -> None:
        accelerator = self._accelerator
        with _torch_writes(step):
            accelerator.save_state(str(draft / "model"), safe_serialization=False)
        if self._config.staleness == "fresh" and self._round is not None:
            share = draft / f"round-{accelerator.process_index}"
            share.mkdir()
            self._round.save(share)
        if accelerator.is_main_process:
            position = {"step": step, "processes": accelerator.num_processes} | self._guard.save(draft)
            with _torch_writes(step):
                torch.save(position, draft / "position.pt")

    def _restore(self) -> int:
        """Go back to the last saved state; returns the number of steps done."""
        state = self._folder.last_state() if self._config.resume else None
        if state is None:
            self._folder.rewind(0)
            return 0
        position: dict[str, Any] = torch.load(state / "position.pt", weights_only=True)
        step, processes = int(position["step"]), self._accelerator.num_processes
        if position["processes"] != processes:
            raise RunMismatchError(
                f"{self._config.out} was trained by {position['processes']} processes and can't go on with "
                f"{processes}; launch as many"
            )
        if self._config.staleness == "fixed":
            # Before the weights: should the stored rollouts be gone, they are drawn from the start again.
            self._round = self._rounds.fixed()
        elif step % self._config.steps_per_round:
            self._round = self._rounds.take_up(state / f"round-{self._accelerator.process_index}")
        self._accelerator.load_state(str(state / "model"))
        self._folder.rewind(step)
        if self._round is not None:
            self._roles = read_roles(self._rounds.gathered(self._round.records), self._config.clip)
        self._guard.restore(state, position, self._round)
        return step

    def _write_checkpoint(self, place: Path) -> Path:
        accelerator = self._accelerator
        if not accelerator.is_main_process:
            self._rounds.save_student(place)
            accelerator.wait_for_everyone()
            return place
        with new_folder(place) as draft:
            self._rounds.save_student(draft)
            # Of a run that diverged here before, or was killed just after writing it.
            shutil.rmtree(place, ignore_errors=True)
        accelerator.wait_for_everyone()
        return place

    def _finish(self, step: int) -> OPDRun:
        assert self._round is not None
        try:
            self._write_checkpoint(self._folder.checkpoint)
        except NotNumbersError as error:
            raise DivergenceError(f"training diverged at step {step}: {error}") from error
        tally = self._round.about.tally
        self._folder.finish(
            step,
            result={
                "lambda_last": self._guard.held.lam,
                "parse_validity_of_last_rollouts": tally.strict / tally.rollouts,
            },
        )
        return _finished(self._folder, self._config)


@contextmanager
def _torch_writes(step: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # So torch says that a file can't be written, in several wordings.
        raise OSError(f"the state after step {step} can't be saved: {error}") from error


def _limit(config: OPDConfig, checkpoints: Checkpoints) -> ForecastLimit | None:
    """What the forecast allows, where there is one."""
    if config.forecast is None:
        return None
    return read_limit(
        config.forecast,
        teacher=checkpoints.teacher.sha256,
        base=checkpoints.base.sha256,
        plausible=config.plausible,
        contract=config.contract,
        prompt=config.prompting.record(),
    )


def _warnings(config: OPDConfig) -> list[str]:
    if config.clip is not None and not config.clip_can_bind:
        return [
            "rollouts are fresh and used for one update, so the ratio to the behaviour policy is 1 "
            "everywhere and c never binds: raise updates_per_rollout or rollout_batch, fix the rollouts, "
            "or choose another ratio"
        ]
    return []


def _finished(folder: RunFolder, config: OPDConfig) -> OPDRun:
    result = folder.manifest.get("result", {})
    return OPDRun(
        out=config.out,
        checkpoint=folder.checkpoint,
        step=int(folder.manifest.get("step", 0)),
        strict=float(result.get("parse_validity_of_last_rollouts", math.nan)),
        lam=float(result.get("lambda_last", config.lam)),
        warnings=tuple(folder.manifest.get("warnings", ())),
    )
