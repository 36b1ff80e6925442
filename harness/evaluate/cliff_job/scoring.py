"""Class masses of all rollouts under one model, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.cliff import ClassMass, MassBounds, PositionRecords
from harness.contract.automaton import ROLES
from harness.engines.class_masses import ClassScores, score_classes
from harness.engines.config import EngineConfig, open_engine
from harness.errors import DataError, IncompleteError
from harness.evaluate.cliff_job.config import ModelRole
from harness.evaluate.cliff_job.positions import Rollout
from harness.evaluate.cliff_job.report import ModelCost
from harness.evaluate.progress import OnProgress, Progress

# A server refuses more than its --max-logprobs, 20 by default; an embedded vLLM takes any number.
MAX_TOP_K = {"vllm": 1280}


@dataclass(frozen=True, slots=True, eq=False)
class ModelScores:
    """One model's view of all positions, in the order of the rollouts.

    Attributes:
        masses: [N] class masses.
        logprobs: [N] logprobs of the tokens that stand there.
        cost: what it took.
    """

    masses: MassBounds
    logprobs: npt.NDArray[np.float64]
    cost: ModelCost


def score_model(
    role: ModelRole,
    engine: EngineConfig,
    rollouts: Sequence[Rollout],
    top_k: int,
    max_top_k: int | None,
    on_progress: OnProgress,
) -> ModelScores:
    """Open one model, score all rollouts, close it.

    Raises:
        DataError: a rollout that doesn't fit the model's context.
        HarnessError: the engine can't load or score.
        IncompleteError: it died half-way.
    """
    started = time.monotonic()
    requests = [rollout.score_request() for rollout in rollouts]
    scores: dict[str, ClassScores] = {}
    with closing(open_engine(engine)) as opened:
        on_progress(Progress(f"loading the {role}"))
        opened.start()
        loaded = time.monotonic()
        info = opened.info()
        _check_context(role, rollouts, info.context_length)
        largest = max_top_k if max_top_k is not None else MAX_TOP_K.get(info.name)
        on_progress(Progress(f"scoring under the {role}", 0, len(requests)))
        for one in score_classes(opened, requests, top_k, largest):
            scores[one.key] = one
            on_progress(Progress(f"scoring under the {role}", len(scores), len(requests)))
    if missing := len(requests) - len(scores):
        raise IncompleteError(
            f"the {role} ended without {missing} of {len(requests)} scores; run the same command again"
        )
    ordered = [scores[rollout.key] for rollout in rollouts]
    return ModelScores(
        masses=_joined([one.masses for one in ordered]),
        logprobs=np.concatenate([one.logprobs for one in ordered]),
        cost=ModelCost(
            role=role,
            checkpoint=info.checkpoint,
            weights_sha256=info.weights_sha256,
            engine=info.name,
            engine_version=info.version,
            dtype=info.options.get("dtype"),
            exact=all(one.top_k == 0 for one in ordered),
            largest_top_k=max(one.top_k for one in ordered),
            tokens_read=sum(len(one.prompt_ids) + len(one.completion_ids) for one in requests),
            positions=sum(len(one.completion_ids) for one in requests),
            load_seconds=round(loaded - started, 3),
            score_seconds=round(time.monotonic() - loaded, 3),
        ),
    )


def position_records(
    rollouts: Sequence[Rollout], teacher: MassBounds, base: MassBounds, student: MassBounds | None
) -> PositionRecords:
    """One row a position, in the order of the rollouts."""
    lengths = [len(rollout.walk.roles) for rollout in rollouts]
    number = {role: position for position, role in enumerate(ROLES)}
    return PositionRecords(
        roles=ROLES,
        task=np.repeat(np.array([rollout.task for rollout in rollouts], dtype=np.int64), lengths),
        rollout=np.repeat(np.array([rollout.index for rollout in rollouts], dtype=np.int64), lengths),
        role=np.array([number[role] for one in rollouts for role in one.walk.roles], dtype=np.int64),
        index=np.array([index for one in rollouts for index in one.walk.indices], dtype=np.int64),
        teacher=teacher,
        base=base,
        student=student,
    )


def _check_context(role: ModelRole, rollouts: Sequence[Rollout], context_length: int | None) -> None:
    longest = max(len(one.prompt_ids) + len(one.token_ids) for one in rollouts)
    if context_length is not None and longest > context_length:
        raise DataError(
            f"a rollout of {longest} tokens doesn't fit the {role}'s context of {context_length}; "
            "lower --max-tokens or choose shorter tasks"
        )


def _joined(parts: Sequence[MassBounds]) -> MassBounds:
    def whole(masses: Sequence[ClassMass]) -> ClassMass:
        return ClassMass(
            np.concatenate([mass.log_mass for mass in masses]),
            np.concatenate([mass.log_tail for mass in masses]),
        )

    low = whole([part.low for part in parts])
    if all(part.is_exact for part in parts):
        return MassBounds.exact(low)
    return MassBounds(low, whole([part.high for part in parts]))
