"""Exact logprobs of given completions with transformers, in memory that doesn't grow with their length.

The decoder runs once over prompt and completion; the output layer only at completion positions, a block of
rows at a time, so that the [positions, vocabulary] matrix never exists as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from harness.cliff import ClassMass
from harness.engines.base import ScoreRequest, TokenScores
from harness.engines.finite import NOT_NUMBERS, WHAT_TO_DO, NotNumbersError, named, require_numbers
from harness.engines.hf_classes import class_masses
from harness.errors import DataError, EngineUnavailableError

# Logits held at once: 2^26 float32 numbers are 256 MiB, or 442 positions of a 151,936-token vocabulary.
BLOCK_LOGITS = 1 << 26
# How far the shortcut may be from the model's own logits, relative to their scale, in its own dtype.
TOLERANCE = 2e-2


class OutputLayer:
    """The step from hidden states to float32 logits, as the model itself takes it."""

    def __init__(self, model: Any) -> None:
        """Find the decoder and the output layer, and check them against the model's own logits.

        Raises:
            NotNumbersError: the logits are NaN or infinite.
            EngineUnavailableError: the model does something else to its logits.
        """
        import torch

        whole = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.decoder = whole.base_model
        self._layer = whole.get_output_embeddings()
        self.name = named(whole)
        text = whole.config.get_text_config()
        self._cap = getattr(text, "final_logit_softcapping", None)
        self._factor = getattr(text, "logit_scale", None) or 1.0
        self._divisor = getattr(text, "logits_scaling", None) or 1.0
        probe = torch.arange(1, 9, device=model.device).unsqueeze(0)
        with torch.inference_mode():
            own = model(input_ids=probe, use_cache=False).logits[0].float()
            require_numbers(own, self.name)
            ours = self(self.decoder(input_ids=probe, use_cache=False).last_hidden_state[0])
        if not torch.allclose(own, ours, atol=TOLERANCE * float(own.abs().max()), rtol=0.0):
            raise EngineUnavailableError(
                f"{type(whole).__name__} changes its logits in a way this engine doesn't know; "
                "score with `engine=vllm`"
            )

    @property
    def device(self) -> Any:
        """Where the decoder is."""
        return self._layer.weight.device

    @property
    def vocabulary(self) -> int:
        """Width of the logits."""
        return int(self._layer.weight.shape[0])

    def __call__(self, hidden: Any) -> Any:
        """Logits [rows, vocabulary] in float32 of hidden states [rows, width]."""
        import torch

        logits = self._layer(hidden).float() * self._factor / self._divisor
        return logits if self._cap is None else torch.tanh(logits / self._cap) * self._cap

    def hidden_at(self, ids: Any, mask: Any, at_row: Any, at_position: Any) -> Any:
        """Hidden states [N, width] at N places of a batch; arguments as `padded` gives them."""
        device = self.device
        hidden = self.decoder(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
        return hidden.last_hidden_state[at_row.to(device), at_position.to(device)]


def score(
    model: Any,
    requests: Sequence[ScoreRequest],
    top_k: int,
    batch_size: int,
    done: Collection[str],
) -> Iterator[TokenScores]:
    """Yield the scores of `requests` that aren't `done`, longest first.

    Batch and padding decide the last bits of a score: batches are formed from all requests, and one is
    computed again unless all of it is done, so that a job which goes on after a kill gives the same bits.

    Raises:
        DataError: a request without a prompt token, whose first token would have no distribution.
        ValueError: not one class a completion token.
        EngineUnavailableError: see `OutputLayer`.
        NotNumbersError: the logits are NaN or infinite.
    """
    with_classes = any(request.classes for request in requests)
    for request in requests:
        if not request.prompt_ids:
            raise DataError(f"{request.key} has no prompt token to predict its first token from")
        if with_classes and len(request.classes) != (count := len(request.completion_ids)):
            raise ValueError(f"{request.key} has {len(request.classes)} classes for {count} tokens")
    output = OutputLayer(model)
    ordered = sorted(requests, key=lambda one: -(len(one.prompt_ids) + len(one.completion_ids)))
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        if any(one.key not in done for one in batch):
            scored = _score_batch(model, output, batch, top_k, with_classes)
            yield from (scores for scores in scored if scores.key not in done)


def padded(batch: Sequence[ScoreRequest]) -> tuple[Any, Any, Any, Any]:
    """A batch on the CPU: ids and mask [rows, width]; the row of each completion token and its place − 1."""
    import torch

    rows = [[*one.prompt_ids, *one.completion_ids] for one in batch]
    width = max(map(len, rows))
    # Padding lies behind, where a causal model can't see it from the positions that count.
    ids = torch.tensor([row + [row[-1]] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    places = [
        (row, len(one.prompt_ids) - 1 + t)
        for row, one in enumerate(batch)
        for t in range(len(one.completion_ids))
    ]
    at_row, at_position = torch.tensor(places, dtype=torch.long).reshape(-1, 2).T
    return ids, mask, at_row, at_position


def _score_batch(
    model: Any, output: OutputLayer, batch: Sequence[ScoreRequest], top_k: int, with_classes: bool
) -> Iterator[TokenScores]:
    import torch

    ids, mask, at_row, at_position = (one.to(model.device) for one in padded(batch))
    with torch.inference_mode():
        hidden = output.decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        rows_hidden, tokens = hidden[at_row, at_position], ids[at_row, at_position + 1]
        masses: ClassMass | None = None
        if with_classes:
            classes = [ids for one in batch for ids in one.classes]
            block = max(1, BLOCK_LOGITS // output.vocabulary)
            own, masses = class_masses(output, rows_hidden, tokens, classes, block)
            top_ids, top = np.empty((len(own), 0), dtype=np.int64), np.empty((len(own), 0))
        else:
            own, top_ids, top = _logprobs(output, rows_hidden, tokens, top_k)
    if np.isnan(own).any():
        raise NotNumbersError(f"{output.name}: {NOT_NUMBERS}: {WHAT_TO_DO}")
    first = 0
    for one in batch:
        part = slice(first, first + len(one.completion_ids))
        first = part.stop
        of_classes = None if masses is None else masses[part]
        yield TokenScores(one.key, own[part], top_ids[part], top[part], of_classes)


def _logprobs(output: OutputLayer, hidden: Any, tokens: Any, top_k: int) -> tuple[Any, Any, Any]:
    """Logprob of each token and the top-k, as float64 and int64 arrays."""
    import torch

    count = hidden.shape[0]
    k = min(top_k, output.vocabulary)
    own = np.empty(count)
    top = np.empty((count, k))
    top_ids = np.empty((count, k), dtype=np.int64)
    block = max(1, BLOCK_LOGITS // output.vocabulary)
    for start in range(0, count, block):
        part = slice(start, start + block)
        logprobs = torch.log_softmax(output(hidden[part]), dim=-1)
        own[part] = logprobs.gather(-1, tokens[part].unsqueeze(-1)).squeeze(-1).double().cpu().numpy()
        best = logprobs.topk(k, dim=-1)
        top[part] = best.values.double().cpu().numpy()
        top_ids[part] = best.indices.cpu().numpy()
    return own, top_ids, top
