"""On-policy distillation with reward extrapolation: rollouts, advantage, clipped updates.

Per round: draw rollouts from the behaviour policy; read them under teacher and base; let the guard settle λ.
Per step of the round: read a minibatch under the student; form advantage and ratio (`harness.opd.loss`);
update; log. The paper is Li et al., arXiv 2605.08737.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.errors import HarnessError, IncompleteError, RunMismatchError
from harness.evaluate.progress import OnProgress, Progress, ignore
from harness.opd.config import OPDConfig, OPDRun
from harness.opd.fitting import unfinished_folder
from harness.opd.guard import GuardReading, LambdaGuard, RoleReading, read_roles
from harness.opd.loss import Objective, TokenLogprobs, TokenTerms, token_terms, token_weights
from harness.opd.opd_log import OPDStep, TokenColumns, role_fields, token_fields
from harness.opd.policies import Checkpoints
from harness.opd.policy import Reading
from harness.opd.round import Round
from harness.opd.rounds import Rounds, load_dataset
from harness.opd.run_folder import RunFolder, load_window, save_window
from harness.opd.scoring import class_masses

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
        IncompleteError: interrupted, or the loss or gradient stopped being finite; the last good weights
            are kept.
    """
    checkpoints = Checkpoints(config)
    dataset = load_dataset(config)
    folder = RunFolder(config, checkpoints, dataset)
    with folder.held(_warnings(config)) as complete:
        if complete:
            return _finished(folder, config)
        rounds = Rounds(config, checkpoints, dataset, folder.rollouts, on_progress)
        return _Training(config, folder, rounds).run(on_progress)


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

    def __init__(self, config: OPDConfig, folder: RunFolder, rounds: Rounds) -> None:
        self._config = config
        self._folder = folder
        self._rounds = rounds
        self._policies = rounds.policies
        self._accelerator = rounds.policies.accelerator
        self._guard = LambdaGuard(
            config.guard,
            config.lam,
            config.clip,
            config.guard_epsilon,
            config.guard_confidence,
            config.seed,
        )
        self._round: Round | None = None
        self._held = GuardReading(config.lam, None, False, None, None)
        self._roles: dict[str, RoleReading] = {}
        self._warned = False

    def run(self, on_progress: OnProgress) -> OPDRun:
        config, steps = self._config, self._config.optimisation.steps
        first = self._restore()
        with self._folder.log.open("a", encoding="utf-8") as log:
            for step in range(first, steps):
                began = time.monotonic()
                if step % config.steps_per_round == 0 or self._round is None:
                    self._begin_round(step)
                record = self._step(step, began)
                if self._accelerator.is_main_process:
                    log.write(record.line())
                    log.flush()
                note = f"λ {record.lam:.4g}, KL {record.reverse_kl:.3f}, clipped {record.clipped:.1%}"
                on_progress(Progress(STAGE, step + 1, steps, resumed=first, note=note))
                every = config.checkpoint_every
                if every and (step + 1) % every == 0 and step + 1 < steps:
                    self._save(step + 1)
        return self._finish(steps)

    def _begin_round(self, step: int) -> None:
        """Rollouts, what teacher and base say about them, and the λ they allow."""
        number = step // self._config.steps_per_round
        self._round = self._rounds.fixed() if self._config.staleness == "fixed" else self._rounds.draw(number)
        self._read_round()
        self._held = self._guard.hold(self._rounds.gathered(self._round.records))
        if self._held.exceeded and not self._warned:
            self._warned = True
            self._warn(step)

    def _read_round(self) -> None:
        assert self._round is not None
        self._roles = read_roles(self._rounds.gathered(self._round.records), self._config.clip)

    def _step(self, step: int, began: float) -> OPDStep:
        """One update on one minibatch."""
        config, round_ = self._config, self._round
        assert round_ is not None
        started = time.monotonic()
        rate = config.optimisation.rate(step)
        for group in self._policies.optimizer.param_groups:
            group["lr"] = rate
        objective = Objective(self._held.lam, config.clip, config.clip_sides, config.ratio_gradient)
        first, last = self._rounds.minibatch(step)
        tokens, rollouts = self._rounds.step_size(first, last)
        columns, masses = TokenColumns(), []
        new_roles = step % config.steps_per_round == 0 or step % config.log_every == 0
        for part in round_.layout.passes(first, last):
            packed = round_.layout.packed(part).to(self._policies.device)
            reading = self._policies.trained(packed)
            logprobs = self._logprobs(round_, round_.layout.tokens(part), reading)
            terms = token_terms(logprobs, objective)
            lengths = [len(one.token_ids) for one in round_.rollouts[part]]
            weights = token_weights(lengths, config.aggregation, tokens, rollouts).to(terms.loss.device)
            # DDP and FSDP average gradients over processes; the weights of all of them add up to 1.
            self._accelerator.backward((terms.loss * weights).sum() * self._accelerator.num_processes)
            structural = round_.positions.structural[round_.layout.tokens(part)]
            _collect(columns, terms, weights, logprobs, reading, structural)
            if new_roles:
                walks = round_.positions.walks[part]
                with self._policies.whole_student():
                    student = self._policies.student
                    masses.append(
                        class_masses(student, reading.hidden, packed.tokens, walks, np.array(lengths))
                    )
        norm = self._update(step, columns)
        ended = time.monotonic()
        if new_roles:
            roles = read_roles(
                self._rounds.gathered(self._rounds.records(first, last)),
                config.clip,
                self._rounds.gathered_masses(masses),
            )
        return self._record(step, rate, norm, columns, roles if new_roles else None, (began, started, ended))

    def _logprobs(self, round_: Round, part: slice, reading: Reading) -> TokenLogprobs:
        device = reading.logprobs.device
        teacher = round_.teacher.logprobs[part].to(device)
        base = round_.base.logprobs[part].to(device)
        match self._config.ratio:
            case "student/teacher":
                reference = teacher
            case "student/base":
                reference = base
            case "student/behaviour":
                if round_.behaviour is None:
                    reference = reading.logprobs.detach()
                else:
                    reference = round_.behaviour[part].to(device)
        return TokenLogprobs(reading.logprobs, teacher, base, reference)

    def _update(self, step: int, columns: TokenColumns) -> float:
        """Move the weights; returns the gradient's norm before clipping."""
        optimizer = self._policies.optimizer
        limit = self._config.optimisation.max_gradient_norm
        norm = float(self._accelerator.clip_grad_norm_(self._policies.trained.parameters(), limit))
        # The norm is of the gradient of all processes together, so all of them stop.
        if not math.isfinite(norm) or not all(np.isfinite(part).all() for part in columns.loss):
            optimizer.zero_grad()
            self._diverged(step, norm)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def _record(
        self,
        step: int,
        rate: float,
        norm: float,
        columns: TokenColumns,
        roles: dict[str, RoleReading] | None,
        moments: tuple[float, float, float],
    ) -> OPDStep:
        assert self._round is not None
        began, started, ended = moments
        tally = self._round.about.tally
        values = token_fields(self._rounds.gathered_columns(columns.stacked()))
        return OPDStep(
            step=step + 1,
            round=self._round.about.number + 1,
            lam=self._held.lam,
            learning_rate=rate,
            gradient_norm=norm,
            roles=roles,
            guard_limit=self._held.limit,
            guard_exceeded=self._held.exceeded,
            parse_validity=tally.strict / tally.rollouts,
            truncated=tally.truncated / tally.rollouts,
            seconds=round(time.monotonic() - began, 4),
            tokens_per_second=round(values["tokens"] / (ended - started), 1),
            **values,
            **role_fields(self._roles),
        )

    def _diverged(self, step: int, norm: float) -> None:
        """Keep the weights from before the step that went wrong, and stop."""
        kept = self._write_checkpoint()
        raise IncompleteError(
            f"training diverged at step {step + 1} (gradient norm {norm}, or a loss that isn't finite); the "
            f"weights of step {step} are in {kept}; lower the learning rate or λ"
        )

    def _warn(self, step: int) -> None:
        limit = self._held.limit
        done = "λ is held there" if self._config.guard == "enforce" else "λ stays as it is"
        said = f"step {step + 1}: λ = {self._config.lam:g} is above the guard's limit of {limit:.4g}; {done}"
        self._folder.update(warnings=[*self._folder.manifest.get("warnings", []), said])

    def _save(self, step: int) -> None:
        """A state from which the run goes on to the same weights."""
        accelerator = self._accelerator
        accelerator.wait_for_everyone()
        draft = self._folder.draft_state(step)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(draft / "model"), safe_serialization=False)
        if self._config.staleness == "fresh" and self._round is not None:
            share = draft / f"round-{accelerator.process_index}"
            share.mkdir()
            self._round.save(share)
        if accelerator.is_main_process:
            save_window(draft / "guard.npz", self._guard.window)
            position = {"step": step, "processes": accelerator.num_processes, "held": asdict(self._held)}
            torch.save(position, draft / "position.pt")
        accelerator.wait_for_everyone()
        self._folder.keep_state(draft, step)

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
            self._read_round()
            self._held = GuardReading(**{**position["held"], "estimate": None})
        window = load_window(state / "guard.npz", self._rounds.roles)
        self._guard.restore(window)
        self._warned = any("guard" in one for one in self._folder.manifest.get("warnings", []))
        return step

    def _write_checkpoint(self) -> Path:
        accelerator = self._accelerator
        if not accelerator.is_main_process:
            self._rounds.save_student(self._folder.checkpoint)
            accelerator.wait_for_everyone()
            return self._folder.checkpoint
        with unfinished_folder(self._folder.checkpoint) as draft:
            self._rounds.save_student(draft)
            # Of a run that diverged here before, or was killed just after writing it.
            shutil.rmtree(self._folder.checkpoint, ignore_errors=True)
        accelerator.wait_for_everyone()
        return self._folder.checkpoint

    def _finish(self, step: int) -> OPDRun:
        assert self._round is not None
        self._write_checkpoint()
        tally = self._round.about.tally
        self._folder.finish(
            step,
            result={
                "lambda_last": self._held.lam,
                "parse_validity_of_last_rollouts": tally.strict / tally.rollouts,
            },
        )
        return _finished(self._folder, self._config)


def _collect(
    columns: TokenColumns,
    terms: TokenTerms,
    weights: torch.Tensor,
    logprobs: TokenLogprobs,
    reading: Reading,
    structural: Any,
) -> None:
    def plain(values: torch.Tensor) -> Any:
        return values.detach().cpu().numpy()

    columns.loss.append(plain(terms.loss))
    columns.weight.append(plain(weights))
    columns.advantage.append(plain(terms.advantage))
    columns.ratio.append(plain(terms.ratio))
    columns.clipped.append(plain(terms.clipped))
    columns.kl.append(plain(logprobs.student - logprobs.teacher))
    columns.entropy.append(plain(reading.entropies))
    columns.structural.append(structural)


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
