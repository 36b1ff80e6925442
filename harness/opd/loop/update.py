"""One optimizer step: read a minibatch under the student, form the loss, move the weights."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import gather_object

from harness.cliff import ClassMass, MassBounds
from harness.errors import IncompleteError
from harness.opd.config import OPDConfig
from harness.opd.loop.guard import RoleReading, read_roles
from harness.opd.loop.log import Floats, TokenColumns
from harness.opd.loop.loss import Objective, TokenLogprobs, TokenTerms, token_terms, token_weights
from harness.opd.models.policy import Reading
from harness.opd.rounds.making import Rounds
from harness.opd.rounds.round import Round
from harness.opd.rounds.scoring import class_masses


class DivergenceError(IncompleteError):
    """Loss or gradient is no longer a finite number; the weights are those from before the step."""


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """What a step did.

    Attributes:
        step: counted from 0.
        rate: learning rate.
        norm: of the gradient, before it was clipped by length.
        columns: arrays over this process's tokens, see `TokenColumns`.
        roles: p, b, q and λ* per role of the minibatch, on steps where they are read.
        seconds: wall-clock time.
    """

    step: int
    rate: float
    norm: float
    columns: dict[str, Floats]
    roles: dict[str, RoleReading] | None
    seconds: float


class StudentUpdates:
    """Moves the student's weights, a step at a time."""

    def __init__(self, config: OPDConfig, rounds: Rounds) -> None:
        """Take the policies and minibatches of `rounds`."""
        self._config = config
        self._rounds = rounds
        self._policies = rounds.policies
        self._accelerator = rounds.policies.accelerator

    def update(self, step: int, drawn: Round, lam: float) -> Update:
        """One step on one minibatch of a round.

        Args:
            step: counted from 0; decides learning rate and minibatch.
            drawn: the round it lies in.
            lam: λ.

        Raises:
            DivergenceError: nothing was updated.
        """
        started, config = time.monotonic(), self._config
        rate = config.optimisation.rate(step)
        for group in self._policies.optimizer.param_groups:
            group["lr"] = rate
        objective = Objective(lam, config.clip, config.clip_sides, config.ratio_gradient, config.plausible)
        first, last = self._rounds.minibatch(step)
        tokens, rollouts = self._rounds.step_size(first, last)
        columns = TokenColumns()
        masses: list[ClassMass] | None = None
        if step % config.log_every == 0:
            masses = []
        for part in drawn.layout.passes(first, last):
            packed = drawn.layout.packed(part).to(self._policies.device)
            reading = self._policies.trained(packed)
            logprobs = self._logprobs(drawn, drawn.layout.tokens(part), reading)
            terms = token_terms(logprobs, objective)
            lengths = [len(one.token_ids) for one in drawn.rollouts[part]]
            weights = token_weights(lengths, config.aggregation, tokens, rollouts).to(terms.loss.device)
            # DDP and FSDP average gradients over processes; the weights of all of them add up to 1.
            self._accelerator.backward((terms.loss * weights).sum() * self._accelerator.num_processes)
            structural = drawn.positions.structural[drawn.layout.tokens(part)]
            _collect(columns, terms, weights, logprobs, reading, structural)
            if masses is not None:
                where = (drawn.layout, drawn.positions, part)
                with self._policies.whole_student() as student:
                    read = class_masses(student, reading.hidden, packed.tokens, *where)
                own = drawn.layout.tokens(part)
                masses.append(drawn.positions.merged(MassBounds.exact(read), own).low)
        norm = self._move(step, columns)
        roles = None
        if masses is not None:
            records = self._rounds.gathered(self._rounds.records(first, last))
            roles = read_roles(records, config.clip, self._rounds.gathered_masses(masses))
        return Update(step, rate, norm, columns.stacked(), roles, time.monotonic() - started)

    def _logprobs(self, drawn: Round, part: slice, reading: Reading) -> TokenLogprobs:
        device = reading.logprobs.device
        teacher = drawn.teacher.logprobs[part].to(device)
        base = drawn.base.logprobs[part].to(device)
        match self._config.ratio:
            case "student/teacher":
                reference = teacher
            case "student/base":
                reference = base
            case "student/behaviour":
                # None: this very student drew them, a moment ago.
                reference = (
                    reading.logprobs.detach() if drawn.behaviour is None else drawn.behaviour[part].to(device)
                )
        likeliest = None
        if self._config.plausible > 0.0:
            assert drawn.teacher.likeliest is not None
            likeliest = drawn.teacher.likeliest[part].to(device)
        return TokenLogprobs(reading.logprobs, teacher, base, reference, likeliest)

    def _move(self, step: int, columns: TokenColumns) -> float:
        """Update the weights; returns the gradient's norm before clipping."""
        optimizer = self._policies.optimizer
        limit = self._config.optimisation.max_gradient_norm
        norm = float(self._accelerator.clip_grad_norm_(self._policies.trained.parameters(), limit))
        finite = math.isfinite(norm) and all(np.isfinite(part).all() for part in columns.loss)
        # All of them stop, also where the loss of one alone isn't finite.
        if not all(gather_object([finite])):
            optimizer.zero_grad()
            raise DivergenceError(
                f"training diverged at step {step + 1} (gradient norm {norm}, or a loss that isn't finite)"
            )
        optimizer.step()
        optimizer.zero_grad()
        return norm


def _collect(
    columns: TokenColumns,
    terms: TokenTerms,
    weights: torch.Tensor,
    logprobs: TokenLogprobs,
    reading: Reading,
    structural: npt.NDArray[np.bool_],
) -> None:
    columns.loss.append(_plain(terms.loss))
    columns.weight.append(_plain(weights))
    columns.advantage.append(_plain(terms.advantage))
    columns.ratio.append(_plain(terms.ratio))
    columns.clipped.append(_plain(terms.clipped).astype(bool))
    columns.kl.append(_plain(logprobs.student - logprobs.teacher))
    columns.entropy.append(_plain(reading.entropies))
    columns.structural.append(structural)


def _plain(values: torch.Tensor) -> Floats:
    array: Floats = values.detach().cpu().numpy()
    return array
