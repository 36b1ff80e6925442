"""What steers transformers' `generate`: seeded sampling, structured output, the end of the context."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import EngineUnavailableError


def nucleus(probabilities: Any, top_p: float) -> Any:
    """Zero what lies outside the smallest set of tokens with mass ≥ `top_p`; the likeliest always stays.

    Args:
        probabilities: [rows, vocabulary] tensor.
        top_p: in (0, 1].
    """
    if top_p >= 1.0:
        return probabilities
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(-1) - ranked
    ranked = ranked.masked_fill(before >= top_p, 0.0)
    return probabilities.new_zeros(probabilities.shape).scatter(-1, order, ranked)


def draw(scores: Any, uniforms: Any, temperature: float, top_p: float) -> Any:
    """The token of each row by inversion of its distribution function, in float64.

    Args:
        scores: [rows, vocabulary] logits.
        uniforms: [rows] numbers in [0, 1).
        temperature: > 0.
        top_p: in (0, 1].

    Returns:
        [rows] token ids.
    """
    import torch

    probabilities = nucleus(torch.softmax(scores.double() / temperature, dim=-1), top_p)
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1:]
    # Rounding could otherwise lift the target to the total, past the last token.
    below = torch.nextafter(total, torch.zeros_like(total))
    target = torch.minimum(uniforms.unsqueeze(-1) * total, below)
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1)


class SeededSampler:
    """Logits processor that leaves one token a row: the one its own seed draws.

    Each row draws from a stream of its own, so what it says doesn't depend on its neighbours in the batch.
    """

    def __init__(self, seeds: Sequence[int], steps: int, temperature: float, top_p: float) -> None:
        """Prepare `steps` uniform numbers for each seed."""
        self._uniforms = np.stack([np.random.default_rng(seed).random(steps) for seed in seeds])
        self._temperature = temperature
        self._top_p = top_p
        self._step = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Replace `scores` [rows, vocabulary] by 0 at the drawn token and -inf elsewhere."""
        import torch

        uniforms = torch.from_numpy(self._uniforms[:, self._step]).to(scores.device)
        self._step += 1
        chosen = draw(scores, uniforms, self._temperature, self._top_p)
        only = torch.full_like(scores, -torch.inf)
        return only.scatter(-1, chosen.unsqueeze(-1), 0.0)


class AnswerLimits:
    """Stopping criterion: each row's own limit of completion tokens."""

    def __init__(self, prompt_length: int, limits: Sequence[int]) -> None:
        """`prompt_length` is the padded length of the batch's prompts."""
        self._prompt_length = prompt_length
        self._limits = limits

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Which rows are at their limit."""
        import torch

        drawn = input_ids.shape[1] - self._prompt_length
        return torch.tensor([drawn >= limit for limit in self._limits], device=input_ids.device)


class Grammars:
    """Compiles JSON schemas for one tokenizer, each once."""

    def __init__(self, tokenizer: Any, vocabulary: int, stop_token_ids: Sequence[int]) -> None:
        """Prepare for logits of width `vocabulary`.

        Raises:
            EngineUnavailableError: xgrammar isn't installed.
        """
        try:
            import xgrammar
        except ImportError as error:
            raise EngineUnavailableError(
                "constrained generation with the hf engine needs xgrammar; run: pip install xgrammar, "
                "or use `engine=vllm`"
            ) from error
        about = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=vocabulary, stop_token_ids=list(stop_token_ids)
        )
        self._compiler = xgrammar.GrammarCompiler(about)
        self._compiled: dict[str, Any] = {}

    def compile(self, schema: dict[str, Any]) -> Any:
        """The compiled grammar of a schema."""
        text = json.dumps(schema)
        if text not in self._compiled:
            self._compiled[text] = self._compiler.compile_json_schema(text)
        return self._compiled[text]


class GrammarMask:
    """Logits processor that allows only tokens by which each row's text can still fit its grammar."""

    def __init__(self, grammars: Sequence[Any]) -> None:
        """One compiled grammar a row, None for a free row."""
        import xgrammar

        self._xgrammar = xgrammar
        self._matchers = [None if one is None else xgrammar.GrammarMatcher(one) for one in grammars]
        self._started = False

    def take(self, rows: Sequence[int]) -> None:
        """Go on with these rows."""
        self._matchers = [self._matchers[row] for row in rows]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Set `scores` of forbidden tokens to -inf; `input_ids` [rows, width] end in the last token."""
        rows, width = scores.shape
        mask = self._xgrammar.allocate_token_bitmask(rows, width)
        for row, matcher in enumerate(self._matchers):
            if matcher is None:
                continue
            # A row that has ended is fed padding, which its grammar needn't know.
            if (
                self._started and not matcher.accept_token(int(input_ids[row, -1]))
            ) or matcher.is_terminated():
                self._matchers[row] = None
            else:
                matcher.fill_next_token_bitmask(mask, row)
        self._started = True
        self._xgrammar.apply_token_bitmask_inplace(scores, mask.to(scores.device))
        return scores
