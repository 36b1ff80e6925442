"""The extrapolated target π_λ ∝ π_T^λ · π_B^(1−λ), drawn token by token from two checkpoints at once.

It is the fixed point of distillation with reward extrapolation and needs no training. Mixing a policy with
its reference at decoding time is known from Liu et al., "Decoding-time realignment of language models" (arXiv
2402.02992), there to choose a KL strength; extrapolating only where the better model finds a token plausible
from Li et al., "Contrastive decoding" (arXiv 2210.15097).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, Final, Protocol

from harness.engines.base import EngineInfo, GenerationRequest, SamplingParams, ScoreRequest, TokenScores
from harness.engines.config import EngineConfig
from harness.engines.hf_engine import HfEngine
from harness.engines.local_model import ORIGIN, for_role, require_taken
from harness.engines.memory import require_room
from harness.engines.target_draw import Reader, TargetRow, draw_rows
from harness.errors import EngineUnavailableError, HarnessError

ROWS: Final = {"cpu": 96}
"""Completions at a time in a forecast, all λ of a batch together, by device."""
ACCELERATOR_ROWS: Final = 128


class Ahead(Protocol):
    """Completions that were drawn before they are asked for."""

    def get(self, mark: str) -> tuple[int, ...] | None:
        """Those of a mark, None where there are none."""
        ...

    def keep(self, marks: Sequence[str], completions: Sequence[tuple[int, ...]]) -> None:
        """Add some; a process that is killed after this has them."""
        ...


class TargetEngine(HfEngine):
    """Draws completions of the extrapolated target with transformers."""

    def __init__(self, config: EngineConfig) -> None:
        """Check what can be checked without loading anything.

        Raises:
            HarnessError: no teacher or base, or tokenizers that differ.
            EngineUnavailableError: a library isn't installed, or a checkpoint can't be used.
        """
        target = config.target
        if target is None:
            raise HarnessError("the target is made of two checkpoints; give `teacher=`, `base=` and `lam=`")
        if config.ckpt is not None:
            raise HarnessError("the target is made of a teacher and a base; leave `ckpt=` out")
        require_taken(config, [target.teacher, target.base])
        super().__init__(_placed(for_role(config, target.teacher), target.teacher_device))
        self._target = target
        self._also: tuple[float, ...] = ()
        self._ahead: Ahead | None = None
        beside = for_role(config, target.base).changed(tokenizer=None)
        self._beside = HfEngine(_placed(beside, target.base_device))
        # Both read what the teacher's makes of a prompt.
        self._tokenizer.embeddings.update(self._beside._tokenizer.embeddings)
        mine, theirs = (one.vocabulary() for one in (self, self._beside))
        if mine != theirs:
            raise HarnessError(
                f"{target.teacher} and {target.base} have different vocabularies, so their tokens can't be "
                "mixed; choose checkpoints of one family"
            )

    def choose(self, config: EngineConfig, also: Sequence[float] = (), ahead: Ahead | None = None) -> None:
        """Draw at another λ from the checkpoints that are loaded.

        Args:
            config: of the same checkpoints.
            also: further λ that will be asked for: drawn in the same batches, so that a prompt is read once.
            ahead: keeps those until then.

        Raises:
            HarnessError: the configuration is of other checkpoints.
        """
        target = config.target
        if target is None or (target.teacher, target.base) != (self._target.teacher, self._target.base):
            raise HarnessError("another teacher or base takes another engine")
        self._target = target
        self._also, self._ahead = (tuple(also), ahead) if ahead is not None else ((), None)

    @property
    def base_model(self) -> Any:
        """The base's model; the teacher's is `model`."""
        return self._beside.model

    def info(self) -> EngineInfo:
        """Describe the engine; hashes both checkpoints the first time."""
        mine, theirs, target = super().info(), self._beside.info(), self._target
        return replace(
            mine,
            name="target",
            checkpoint=f"target of {target.teacher} and {target.base} at λ = {target.lam:g}"
            + (f", plausible {target.plausible:g}" if target.plausible else ""),
            weights_sha256=target_sha256(
                mine.weights_sha256, theirs.weights_sha256, target.lam, target.plausible
            ),
            parameters=None,
            options=mine.options
            | {f"base_{name}": theirs.options[name] for name in ORIGIN if name in theirs.options}
            | {"teacher_sha256": mine.weights_sha256, "base_sha256": theirs.weights_sha256}
            | target.model_dump(mode="json", exclude_none=True),
        )

    def start(self) -> None:
        """Load both models.

        Raises:
            EngineUnavailableError: they don't fit, or transformers can't load one of them here.
        """
        if self._model is None:
            require_room([one.need for one in (self, self._beside)])
        super().start()
        self._beside.start()

    def close(self) -> None:
        """Free both models."""
        super().close()
        self._beside.close()

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, done: Collection[str] = frozenset()
    ) -> Iterator[TokenScores]:
        """The target isn't scored: its teacher and base are."""
        raise EngineUnavailableError("the target engine draws only; score its teacher and its base")

    def _together(self) -> int:
        if self._ahead is None:
            return super()._together()
        rows = self._config.batch_size or ROWS.get(self._device().partition(":")[0], ACCELERATOR_ROWS)
        return max(1, rows // (1 + len(self._also)))

    def _answers(self, batch: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[int, ...]]:
        if self._ahead is None:
            return self._drawn(batch, sampling, [self._target.lam])
        lams = [self._target.lam, *self._also]
        marks = [self._mark(one, lam, sampling) for lam in lams for one in batch]
        known = [self._ahead.get(mark) for mark in marks[: len(batch)]]
        found = [one for one in known if one is not None]
        if len(found) == len(batch):
            return found
        drawn = self._drawn(batch, sampling, lams)
        self._ahead.keep(marks[len(batch) :], drawn[len(batch) :])
        return drawn[: len(batch)]

    def _drawn(
        self, batch: Sequence[GenerationRequest], sampling: SamplingParams, lams: Sequence[float]
    ) -> list[tuple[int, ...]]:
        """[λ · requests] completions, those of the first λ first."""
        grammars = [one.schema and self._grammars.compile(one.schema) for one in batch]
        rows = [
            TargetRow(one.prompt_ids, one.seed, lam, grammar)
            for lam in lams
            for one, grammar in zip(batch, grammars, strict=True)
        ]
        context = self._local.context_length
        return draw_rows(
            Reader(self.model, self._target.teacher, context),
            Reader(self.base_model, self._target.base, context),
            rows,
            sampling,
            plausible=self._target.plausible,
            stop_ids=self._local.stop_token_ids,
            context_length=context,
            device=self.model.device,
        )

    def _mark(self, request: GenerationRequest, lam: float, sampling: SamplingParams) -> str:
        """Hash of all that decides what a request is answered at a λ."""
        asked = [request.prompt_ids, request.seed, request.schema, lam, asdict(sampling)]
        return hashlib.sha256(json.dumps([self._pair, self._target.plausible, *asked]).encode()).hexdigest()[
            :32
        ]

    @cached_property
    def _pair(self) -> list[Any]:
        mine, theirs = super().info(), self._beside.info()
        return [[one.weights_sha256, one.options["dtype"]] for one in (mine, theirs)]


def target_sha256(teacher: str | None, base: str | None, lam: float, plausible: float) -> str:
    """What stands for a target's weights: of its teacher's digest, its base's, and the rest that makes it."""
    return hashlib.sha256(json.dumps([teacher, base, lam, plausible]).encode()).hexdigest()


def _placed(config: EngineConfig, device: str | None) -> EngineConfig:
    return config if device is None else config.changed(device=device)
