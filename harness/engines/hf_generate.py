"""Drawing with a transformers model that is in memory: the engine's draw, and that of a model in training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from harness.engines.base import SamplingParams
from harness.engines.finite import OnlyNumbers, named
from harness.engines.hf_sampling import AnswerLimits, GrammarMask, SeededSampler
from harness.engines.limits import answer_limit
from harness.errors import IncompleteError


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    sampling: SamplingParams,
    *,
    stop_ids: Sequence[int],
    context_length: int | None,
    grammars: Sequence[Any] = (),
) -> list[tuple[int, ...]]:
    """Draw one completion of each prompt, all in one batch.

    What a row draws depends on its own seed alone; its neighbours and their padding only decide last bits.

    Args:
        model: a causal model on its device, whole or with an adapter; ends up in the mode and with the
            generation settings it was in.
        prompts: token ids, [rows] of any length.
        seeds: [rows] one for each.
        sampling: temperature, top_p and most tokens; the rest isn't looked at.
        stop_ids: ids that end a completion.
        context_length: longest prompt + completion, None for no limit.
        grammars: [rows] compiled ones that hold the text, None for a free row; empty for none at all.

    Returns:
        [rows] the completions, each up to and with its first stop id.

    Raises:
        IncompleteError: the device ran out of memory.
        NotNumbersError: the logits are NaN or infinite.
    """
    import torch
    import transformers

    width = max(map(len, prompts))
    limits = [answer_limit(len(one), sampling.max_tokens, context_length) for one in prompts]
    # Any id will do: padding is masked in front, and cut off behind.
    pad = next(iter(stop_ids), 0)
    rows = [[pad] * (width - len(one)) + list(one) for one in prompts]
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=model.device)
    processors: list[Any] = [OnlyNumbers(named(model))]
    if any(one is not None for one in grammars):
        processors.append(GrammarMask(grammars))
    if sampling.temperature > 0:
        processors.append(SeededSampler(seeds, max(limits), sampling.temperature, sampling.top_p))
    try:
        with _undisturbed(model):
            output = model.generate(
                input_ids=torch.tensor(rows, device=model.device),
                attention_mask=mask,
                generation_config=transformers.GenerationConfig(
                    max_new_tokens=max(limits),
                    do_sample=False,
                    eos_token_id=list(stop_ids) or None,
                    pad_token_id=pad,
                ),
                logits_processor=processors,
                stopping_criteria=[AnswerLimits(width, limits)],
            )
    except torch.cuda.OutOfMemoryError as error:
        raise IncompleteError(
            f"{model.device} ran out of memory with {len(prompts)} completions at a time; "
            "run the same command again with a smaller `batch_size=` or `max_tokens=`"
        ) from error
    return [
        _cut(row[width : width + limit], stop_ids) for row, limit in zip(output.tolist(), limits, strict=True)
    ]


@contextlib.contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """The model without dropout and without settings of its own, and both given back."""
    import torch
    import transformers

    # An adapter looks at the settings of the model it sits on.
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    training, settings = model.training, whole.generation_config
    model.eval()
    # `generate` would mix in the checkpoint's own (a repetition penalty, a temperature).
    whole.generation_config = transformers.GenerationConfig()
    try:
        # Inference mode is quicker, but what a model keeps from it can't be trained with.
        with torch.no_grad() if training else torch.inference_mode():
            yield
    finally:
        whole.generation_config = settings
        model.train(training)


def _cut(token_ids: list[int], stop_ids: Sequence[int]) -> tuple[int, ...]:
    ends = (place for place, token in enumerate(token_ids) if token in stop_ids)
    return tuple(token_ids[: next(ends, len(token_ids)) + 1])
