"""Drawing from the extrapolated target: teacher and base step by step, many λ of one prompt in one batch.

A prompt is read once by each model, whatever the number of λ and samples drawn of it; a row leaves the batch
when its completion has ended.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.engines.base import SamplingParams
from harness.engines.finite import require_numbers
from harness.engines.hf_sampling import GrammarMask, draw
from harness.engines.limits import answer_limit
from harness.errors import IncompleteError

_LEAVING = 0.125
"""Share of ended rows above which they leave: taking them out copies both caches."""


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One completion to draw.

    Attributes:
        prompt_ids: rows with the same share what the models made of it.
        seed: of its own stream of random numbers.
        lam: λ.
        grammar: compiled one that holds the text, None for none.
    """

    prompt_ids: tuple[int, ...]
    seed: int
    lam: float
    grammar: Any = None


class Reader:
    """A model that reads a batch of prompts, padded on the left, and then a token a row at a time.

    Args:
        model: a causal model on its device, in evaluation mode.
        name: that an error names.
        most: positions that the model knows, None for no limit; a row that has ended may step beyond.
    """

    def __init__(self, model: Any, name: str, most: int | None = None) -> None:
        self._model, self._name, self._most = model, name, most
        self._cache: Any = None
        self._mask: Any = None
        whole = model.get_base_model() if hasattr(model, "get_base_model") else model
        # Models with ALiBi take no positions, others keep no logits out.
        self._takes = frozenset(inspect.signature(whole.forward).parameters)

    def forget(self) -> None:
        """Begin anew."""
        self._cache = self._mask = None

    def read(self, ids: Any, mask: Any) -> Any:
        """Logits [rows, vocabulary] behind the prompts [rows, width]."""
        self._mask = mask.to(self._model.device)
        return self._step(ids, (self._mask.cumsum(-1) - 1).clamp(min=0))

    def step(self, tokens: Any) -> Any:
        """Logits [rows, vocabulary] behind one more token [rows]."""
        import torch

        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=-1)
        return self._step(tokens[:, None], self._mask.sum(-1, keepdim=True) - 1)

    @property
    def can_take(self) -> bool:
        """Whether rows can be repeated and left out once read: not where a cache sums up what was read."""
        from transformers import cache_utils

        summed = getattr(cache_utils, "LinearAttentionCacheLayerMixin", ())
        layers = getattr(self._cache, "layers", None) or [None]
        return all(
            isinstance(one, cache_utils.DynamicLayer) and not isinstance(one, summed) for one in layers
        )

    def take(self, rows: Any) -> None:
        """Go on with these rows [new rows], which may repeat."""
        rows = rows.to(self._model.device)
        self._mask = self._mask[rows]
        self._cache.batch_select_indices(rows)

    def _step(self, ids: Any, places: Any) -> Any:
        places = places if self._most is None else places.clamp(max=self._most - 1)
        optional = {"position_ids": places, "logits_to_keep": 1}
        output = self._model(
            input_ids=ids.to(self._model.device),
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **{name: value for name, value in optional.items() if name in self._takes},
        )
        self._cache = output.past_key_values
        logits = output.logits[:, -1].float()
        require_numbers(logits, self._name)
        return logits


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


def target_scores(teacher: Any, base: Any, lam: Any, plausible: float = 0.0) -> Any:
    """λ·log π_T − (λ−1)·log π_B, and log π_T where the teacher finds a token implausible.

    Args:
        teacher: [rows, vocabulary] logits.
        base: likewise, on any device; of the same width but for padding at the end.
        lam: λ, one for all or [rows, 1].
        plausible: see `TargetConfig`.

    Returns:
        [rows, vocabulary] unnormalised log probabilities, float32.
    """
    import torch

    width = min(teacher.shape[-1], base.shape[-1])
    of_teacher, of_base = (
        torch.log_softmax(one[:, :width].to(teacher.device).float(), dim=-1) for one in (teacher, base)
    )
    return of_teacher + (lam - 1.0) * plausible_gain(of_teacher, of_base, plausible)


def draw_rows(
    teacher: Reader,
    base: Reader,
    rows: Sequence[TargetRow],
    sampling: SamplingParams,
    *,
    plausible: float,
    stop_ids: Sequence[int],
    context_length: int | None,
    device: Any,
) -> list[tuple[int, ...]]:
    """Draw one completion of each row, all in one batch.

    What a row draws depends on its own seed alone; its neighbours and their padding only decide last bits.

    Args:
        teacher: fresh.
        base: likewise, on the same device or another.
        rows: at least one.
        sampling: temperature, top_p and most tokens; the rest isn't looked at.
        plausible: see `TargetConfig`.
        stop_ids: ids that end a completion.
        context_length: longest prompt + completion, None for no limit.
        device: the teacher's.

    Returns:
        [rows] the completions, each up to and with its first stop id.

    Raises:
        IncompleteError: a device ran out of memory.
        NotNumbersError: the logits are NaN or infinite.
    """
    import torch

    try:
        with torch.inference_mode():
            batch = _Batch(teacher, base, rows, sampling, plausible, stop_ids, context_length, device)
            return batch.run()
    except torch.cuda.OutOfMemoryError as error:
        raise IncompleteError(
            f"{device} ran out of memory with {len(rows)} completions at a time; run the same command again "
            "with a smaller `batch_size=` or `max_tokens=`"
        ) from error


class _Batch:
    """Rows under way; everything by row is [rows still there]."""

    def __init__(
        self,
        teacher: Reader,
        base: Reader,
        rows: Sequence[TargetRow],
        sampling: SamplingParams,
        plausible: float,
        stop_ids: Sequence[int],
        context_length: int | None,
        device: Any,
    ) -> None:
        self._readers, self._rows, self._sampling = (teacher, base), rows, sampling
        self._plausible, self._stops, self._device = plausible, frozenset(stop_ids), device
        self._limits = [
            answer_limit(len(one.prompt_ids), sampling.max_tokens, context_length) for one in rows
        ]
        self._drawn: list[list[int]] = [[] for _ in rows]
        self._grammars = GrammarMask([one.grammar for one in rows]) if any(r.grammar for r in rows) else None
        if sampling.temperature > 0:
            most = max(self._limits)
            self._uniforms = np.stack([np.random.default_rng(one.seed).random(most) for one in rows])

    def run(self) -> list[tuple[int, ...]]:
        """Draw until all have ended."""
        logits = self._read_prompts()
        there = np.arange(len(self._rows))
        last: Any = None
        for step in range(max(self._limits)):
            tokens = self._choose(logits, there, step, last)
            last = tokens
            ended = np.array(
                [self._note(row, token) for row, token in zip(there.tolist(), tokens.tolist(), strict=True)]
            )
            if ended.all():
                break
            if ended.mean() >= _LEAVING and self._can_take:
                going = np.flatnonzero(~ended)
                there, kept = there[going], self._index(going)
                last = tokens = tokens[kept]
                for reader in self._readers:
                    reader.take(kept)
                if self._grammars is not None:
                    self._grammars.take(going.tolist())
            logits = tuple(reader.step(tokens) for reader in self._readers)
        return [tuple(one) for one in self._drawn]

    @property
    def _can_take(self) -> bool:
        return all(reader.can_take for reader in self._readers)

    def _read_prompts(self) -> tuple[Any, ...]:
        """Logits behind the prompts, [rows, vocabulary] of each model; equal prompts are read once."""
        import torch

        every = [one.prompt_ids for one in self._rows]
        prompts = list(dict.fromkeys(every))
        logits = self._read(prompts)
        if len(prompts) == len(every):
            return logits
        if not self._can_take:
            for reader in self._readers:
                reader.forget()
            return self._read(every)
        place = {prompt: number for number, prompt in enumerate(prompts)}
        rows = torch.tensor([place[prompt] for prompt in every])
        for reader in self._readers:
            reader.take(rows)
        return tuple(one[rows.to(one.device)] for one in logits)

    def _read(self, prompts: Sequence[tuple[int, ...]]) -> tuple[Any, ...]:
        import torch

        width = max(map(len, prompts))
        # Any id will do for padding: it is masked.
        ids = torch.tensor([[prompt[0]] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        return tuple(reader.read(ids, mask) for reader in self._readers)

    def _choose(self, logits: tuple[Any, ...], there: Any, step: int, last: Any) -> Any:
        """The next token of each row, [rows]."""
        import torch

        lams = torch.tensor([[self._rows[row].lam] for row in there], device=self._device)
        of_teacher, of_base = logits
        scores = target_scores(of_teacher, of_base, lams, self._plausible)
        if self._grammars is not None:
            scores = self._grammars(None if last is None else last[:, None], scores)
        sampling = self._sampling
        if sampling.temperature == 0:
            return scores.argmax(dim=-1)
        uniforms = torch.from_numpy(self._uniforms[there, step]).to(self._device)
        return draw(scores, uniforms, sampling.temperature, sampling.top_p)

    def _note(self, row: int, token: int) -> bool:
        """Keep a row's token unless it had ended before; whether it has by now."""
        drawn = self._drawn[row]
        if len(drawn) < self._limits[row] and not (drawn and drawn[-1] in self._stops):
            drawn.append(token)
        return len(drawn) == self._limits[row] or drawn[-1] in self._stops

    def _index(self, rows: Any) -> Any:
        import torch

        return torch.from_numpy(rows).to(self._device)
