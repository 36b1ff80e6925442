"""Class masses of all rollouts under one model, and what they cost."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.cliff import ClassMass, MassBounds, PositionRecords
from harness.contract.automaton import ROLES
from harness.engines import Engine, EngineInfo, ScoreRequest
from harness.engines.class_masses import CHUNK, ClassScores, score_classes
from harness.engines.hf_batches import unfinished_batches
from harness.errors import DataError, IncompleteError
from harness.measure.config import ModelRole
from harness.measure.positions import Rollout
from harness.measure.report import ModelCost
from harness.measure.score_log import ScoreLog
from harness.progress import OnProgress, Progress

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


@dataclass(frozen=True, slots=True)
class Scoring:
    """What all models' scorings of one set of rollouts share.

    Attributes:
        rollouts: what is scored, in this order.
        classes: identifies the classes: vocabulary, ids that end an answer, contract.
        vocabulary: number of token ids, beyond which no top-k can go.
        top_k: tokens a position that engines without exact masses are asked for first.
        max_top_k: most they are asked for; None is `MAX_TOP_K` of the engine.
        log: where scores are kept.
        on_progress: told where the job stands.
    """

    rollouts: Sequence[Rollout]
    classes: str
    vocabulary: int
    top_k: int
    max_top_k: int | None
    log: ScoreLog
    on_progress: OnProgress

    def run(self, roles: Sequence[ModelRole], engine: Engine) -> ModelScores:
        """Score all rollouts under one model; it is started only where scores are missing.

        Args:
            roles: the parts this model has.
            engine: started or not; stays open.

        Raises:
            DataError: a rollout that doesn't fit the model's context.
            HarnessError: the engine can't load or score.
            IncompleteError: it died half-way; what was scored is kept.
        """
        name = " and ".join(roles)
        load_seconds = self._start(name, engine) if self.log.empty else 0.0
        info = engine.info()
        scorer = self._scorer(info)
        scores = self.log.of(scorer)
        requests = [rollout.score_request() for rollout in self.rollouts]
        missing = [request for request in requests if request.key not in scores]
        began = time.monotonic()
        if missing:
            self._check_context(name, info)
            load_seconds += self._start(name, engine)
            began = time.monotonic()
            self._score(name, engine, scorer, requests, scores)
        ordered = [scores[request.key] for request in requests]
        return ModelScores(
            masses=_joined([one.masses for one in ordered]),
            logprobs=np.concatenate([one.logprobs for one in ordered]),
            cost=ModelCost(
                roles=tuple(roles),
                checkpoint=info.checkpoint,
                weights_sha256=info.weights_sha256,
                engine=info.name,
                engine_version=info.version,
                dtype=info.options.get("dtype"),
                exact=all(one.top_k == 0 for one in ordered),
                largest_top_k=max(one.top_k for one in ordered),
                tokens_read=sum(len(one.prompt_ids) + len(one.completion_ids) for one in requests),
                positions=sum(len(one.completion_ids) for one in requests),
                scored_now=len(missing),
                load_seconds=round(load_seconds, 3),
                score_seconds=round(time.monotonic() - began, 3) if missing else 0.0,
            ),
        )

    def _start(self, name: str, engine: Engine) -> float:
        """Load the model unless it is; seconds."""
        started = time.monotonic()
        self.on_progress(Progress(f"loading the {name}"))
        engine.start()
        return time.monotonic() - started

    def _score(
        self,
        name: str,
        engine: Engine,
        scorer: str,
        requests: Sequence[ScoreRequest],
        scores: dict[str, ClassScores],
    ) -> None:
        """Add what is missing to `scores` and to the log."""
        wanted = self._requests(engine.info(), requests, frozenset(scores))
        largest = self._largest(engine.info())
        resumed = len(scores)
        doing = f"scoring under the {name}"
        self.on_progress(Progress(doing, resumed, len(requests), resumed))
        # hf needs no second look, and its batches go over all requests.
        chunk = None if engine.info().name == "hf" else CHUNK
        try:
            for one in score_classes(engine, wanted, self.top_k, largest, chunk):
                if one.key in scores:
                    continue
                self.log.append(scorer, one)
                scores[one.key] = one
                self.on_progress(Progress(doing, len(scores), len(requests), resumed))
        except KeyboardInterrupt:
            raise IncompleteError(
                f"interrupted after {len(scores)} of {len(requests)} scores of the {name}; "
                "run the same command to go on"
            ) from None
        if left := len(requests) - len(scores):
            raise IncompleteError(
                f"the {name} ended without {left} of {len(requests)} scores; run the same command again"
            )

    @staticmethod
    def _requests(
        info: EngineInfo, requests: Sequence[ScoreRequest], done: frozenset[str]
    ) -> list[ScoreRequest]:
        """What to ask for: all that is missing, in the batches of an undisturbed run where they matter."""
        if info.name == "hf":
            return unfinished_batches(requests, done, int(info.options["batch_size"]))
        return [request for request in requests if request.key not in done]

    def _largest(self, info: EngineInfo) -> int | None:
        largest = self.max_top_k if self.max_top_k is not None else MAX_TOP_K.get(info.name)
        return None if largest is None else min(largest, self.vocabulary)

    def _scorer(self, info: EngineInfo) -> str:
        """Hash of all that decides a score beside the rollout itself."""
        decides = {
            "checkpoint": info.weights_sha256 or info.checkpoint,
            "served": None if info.weights_sha256 else info.options.get("base_urls"),
            "engine": info.name,
            "dtype": info.options.get("dtype"),
            "classes": self.classes,
            "top_k": None if info.name == "hf" else [self.top_k, self._largest(info)],
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    def _check_context(self, name: str, info: EngineInfo) -> None:
        # Servers generate one token more, which must fit as well.
        spare = 0 if info.name == "hf" else 1
        longest = spare + max(len(one.prompt_ids) + len(one.token_ids) for one in self.rollouts)
        if info.context_length is not None and longest > info.context_length:
            raise DataError(
                f"a rollout of {longest} tokens doesn't fit the {name}'s context of {info.context_length}; "
                "lower --max-tokens or choose shorter tasks"
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
        step=np.concatenate([np.arange(length, dtype=np.int64) for length in lengths]),
        cut=np.repeat(np.array([not rollout.walk.finished for rollout in rollouts], dtype=bool), lengths),
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
