"""The extrapolated target π_λ ∝ π_T^λ · π_B^(1−λ), drawn token by token from two checkpoints at once.

It is the fixed point of distillation with reward extrapolation and needs no training. Mixing a policy with
its reference at decoding time is known from Liu et al., "Decoding-time realignment of language models" (arXiv
2402.02992), there to choose a KL strength; extrapolating only where the better model finds a token plausible
from Li et al., "Contrastive decoding" (arXiv 2210.15097).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from harness.engines.base import EngineInfo, GenerationRequest, SamplingParams, ScoreRequest, TokenScores
from harness.engines.config import EngineConfig, TargetConfig
from harness.engines.finite import require_numbers
from harness.engines.hf_engine import HfEngine
from harness.engines.local_model import ORIGIN, for_role, require_taken
from harness.errors import EngineUnavailableError, HarnessError


class TargetLogits:
    """Logits processor that turns the teacher's scores into those of the target; the base runs beside it.

    Args:
        base: the base's model, on the device of the scores or another.
        mask: [rows, width] attention mask of the prompts, padded on the left.
        target: λ and where to extrapolate.
    """

    def __init__(self, base: Any, mask: Any, target: TargetConfig) -> None:
        self._base, self._target = base, target
        self._mask = mask.to(base.device)
        self._cache: Any = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Log-odds of the next token under the target, [rows, vocabulary], float32."""
        beside = self._base_scores(input_ids.to(self._base.device)).to(scores.device)
        width = min(scores.shape[-1], beside.shape[-1])
        return target_scores(scores[:, :width], beside[:, :width], self._target)

    def _base_scores(self, input_ids: Any) -> Any:
        import torch

        if self._cache is not None:
            self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=-1)
            input_ids = input_ids[:, -1:]
        places = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        output = self._base(
            input_ids=input_ids,
            attention_mask=self._mask,
            position_ids=places,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = output.past_key_values
        require_numbers(output.logits[:, -1], self._target.base)
        return output.logits[:, -1].float()


def plausible_gain(of_teacher: Any, of_base: Any, plausible: float, likeliest: Any = None) -> Any:
    """log π_T − log π_B where the teacher finds a token plausible, 0 elsewhere.

    Args:
        of_teacher: [rows, vocabulary] log probabilities, or [N] of one token each with its `likeliest`.
        of_base: likewise.
        plausible: share of the likeliest token's probability above which one is; 0 finds all so.
        likeliest: [N] the teacher's largest log probability where each of the N tokens stands.
    """
    gain = of_teacher - of_base
    if plausible > 0.0:
        largest = of_teacher.amax(dim=-1, keepdim=True) if likeliest is None else likeliest
        gain = gain.masked_fill(of_teacher < largest + math.log(plausible), 0.0)
    return gain


def target_scores(teacher: Any, base: Any, target: TargetConfig) -> Any:
    """λ·log π_T − (λ−1)·log π_B, and log π_T where the teacher finds a token implausible.

    Args:
        teacher: [rows, vocabulary] logits.
        base: likewise.
        target: λ and where to extrapolate.

    Returns:
        [rows, vocabulary] unnormalised log probabilities, float32.
    """
    import torch

    of_teacher, of_base = (torch.log_softmax(one.float(), dim=-1) for one in (teacher, base))
    return of_teacher + (target.lam - 1.0) * plausible_gain(of_teacher, of_base, target.plausible)


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
        super().__init__(for_role(config, target.teacher))
        self._target = target
        self._beside = HfEngine(for_role(config, target.base).changed(tokenizer=None))
        # Both read what the teacher's makes of a prompt.
        self._tokenizer.embeddings.update(self._beside._tokenizer.embeddings)
        mine, theirs = (one.vocabulary() for one in (self, self._beside))
        if mine != theirs:
            raise HarnessError(
                f"{target.teacher} and {target.base} have different vocabularies, so their tokens can't be "
                "mixed; choose checkpoints of one family"
            )

    def choose(self, config: EngineConfig) -> None:
        """Draw at another λ from the checkpoints that are loaded.

        Raises:
            HarnessError: the configuration is of other checkpoints.
        """
        target = config.target
        if target is None or (target.teacher, target.base) != (self._target.teacher, self._target.base):
            raise HarnessError("another teacher or base takes another engine")
        self._target = target

    @property
    def base_model(self) -> Any:
        """The base's model; the teacher's is `model`."""
        return self._beside.model

    def info(self) -> EngineInfo:
        """Describe the engine; hashes both checkpoints the first time."""
        mine, theirs, target = super().info(), self._beside.info(), self._target
        made_of = [mine.weights_sha256, theirs.weights_sha256, target.lam, target.plausible]
        return replace(
            mine,
            name="target",
            checkpoint=f"target of {target.teacher} and {target.base} at λ = {target.lam:g}"
            + (f", plausible {target.plausible:g}" if target.plausible else ""),
            weights_sha256=hashlib.sha256(json.dumps(made_of).encode()).hexdigest(),
            parameters=None,
            options=mine.options
            | {f"base_{name}": theirs.options[name] for name in ORIGIN if name in theirs.options}
            | {"teacher_sha256": mine.weights_sha256, "base_sha256": theirs.weights_sha256}
            | target.model_dump(mode="json"),
        )

    def start(self) -> None:
        """Load both models.

        Raises:
            EngineUnavailableError: transformers can't load one of them here.
        """
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

    def _answers(self, batch: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[int, ...]]:
        return self._draw(batch, sampling, lambda mask: TargetLogits(self.base_model, mask, self._target))
