"""Class masses of all rollouts under one model, and what they cost."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.cliff import MassBounds
from harness.engines import Capabilities, Engine, EngineInfo, ScoreRequest
from harness.engines.class_masses import ClassScores, score_classes
from harness.errors import DataError, IncompleteError, Interrupted, RefusedError
from harness.measure.config import ModelRole
from harness.measure.report import ModelCost
from harness.measure.score_log import ScoreLog
from harness.progress import OnProgress, Progress


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
        requests: the rollouts, with their classes, in this order.
        classes: identifies the classes: vocabulary, ids that end an answer, contract.
        vocabulary: number of token ids, beyond which no top-k can go.
        top_k: tokens a position that engines without exact masses are asked for first.
        max_top_k: most they are asked for; None is what the engine allows.
        log: where scores are kept.
        on_progress: told where the job stands.
    """

    requests: Sequence[ScoreRequest]
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
        info, can = engine.info(), engine.capabilities
        scorer = self._scorer(info, can)
        scores = self.log.of(scorer)
        missing = [request for request in self.requests if request.key not in scores]
        began = time.monotonic()
        if missing:
            self._check_context(name, info.context_length, can)
            load_seconds += self._start(name, engine)
            began = time.monotonic()
            self._score(name, engine, scorer, scores)
        ordered = [scores[request.key] for request in self.requests]
        return ModelScores(
            masses=MassBounds.concat([one.masses for one in ordered]),
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
                tokens_read=sum(len(one.prompt_ids) + len(one.completion_ids) for one in self.requests),
                positions=sum(len(one.completion_ids) for one in self.requests),
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
        scores: dict[str, ClassScores],
    ) -> None:
        """Add what is missing to `scores` and to the log."""
        requests = self.requests
        resumed = len(scores)
        doing = f"scoring under the {name}"
        self.on_progress(Progress(doing, resumed, len(requests), resumed))
        largest = self._largest(engine.capabilities)
        try:
            for one in score_classes(engine, requests, self.top_k, largest, done=frozenset(scores)):
                self.log.append(scorer, one)
                scores[one.key] = one
                self.on_progress(Progress(doing, len(scores), len(requests), resumed))
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted after {len(scores)} of {len(requests)} scores of the {name}; "
                "run the same command to go on"
            ) from None
        except RefusedError as error:
            if not scores:
                raise
            raise IncompleteError(f"{error}; see to it and run the same command again to go on") from error
        if left := len(requests) - len(scores):
            raise IncompleteError(
                f"the {name} ended without {left} of {len(requests)} scores; run the same command again"
            )

    def _largest(self, can: Capabilities) -> int | None:
        largest = self.max_top_k if self.max_top_k is not None else can.max_top_k
        return None if largest is None else min(largest, self.vocabulary)

    def _scorer(self, info: EngineInfo, can: Capabilities) -> str:
        """Hash of all that decides a score beside the rollout itself."""
        decides = {
            "checkpoint": info.weights_sha256 or info.checkpoint,
            "served": None if info.weights_sha256 else info.options.get("base_urls"),
            "engine": info.name,
            "dtype": info.options.get("dtype"),
            "classes": self.classes,
            "top_k": None if can.exact_masses else [self.top_k, self._largest(can)],
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    def _check_context(self, name: str, context: int | None, can: Capabilities) -> None:
        longest = can.score_room + max(len(one.prompt_ids) + len(one.completion_ids) for one in self.requests)
        if context is not None and longest > context:
            raise DataError(
                f"a rollout of {longest} tokens doesn't fit the {name}'s context of {context}; "
                "lower `max_tokens=` or choose shorter tasks"
            )
