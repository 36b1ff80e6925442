"""Rollouts: which prompts a round has, and what a behaviour policy says to them at T = 1, top_p = 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from harness.contract import Contract
from harness.data.tasks import RankingTask
from harness.engines.base import FinishReason
from harness.engines.checkpoint import Checkpoint
from harness.engines.limits import answer_limit
from harness.engines.tokenizer import ChatTokenizer
from harness.errors import DataError, EngineUnavailableError, IncompleteError
from harness.rollouts import Prompt, Rollout, make_prompts, sample_seed

# Prompts a batch of transformers' generate; more keep the keys and values of more rows in memory.
DRAW_BATCH = {"cpu": 64}
ACCELERATOR_DRAW_BATCH = 256
# As `harness eval` has it: room for an answer in any usual spelling.
TOKENS_BESIDE_IDS = 64
TOKENS_AN_ID = 8


@dataclass(frozen=True, slots=True)
class Order:
    """A rollout to draw.

    Attributes:
        task: index of its task.
        draw: see `Rollout`.
        seed: of this rollout alone, so that batching can't change what it draws.
    """

    task: int
    draw: int
    seed: int


def round_orders(tasks: int, prompts: int, samples: int, number: int, seed: int) -> list[Order]:
    """The rollouts of a round, a pure function of its number and the seed; those of a prompt stand together.

    Tasks are gone through in a new random order again and again, without a seam at the end of a round.

    Args:
        tasks: size of the dataset.
        prompts: prompts a round.
        samples: rollouts per prompt.
        number: of the round, from 0.
        seed: of the run.
    """
    orders = []
    for place in range(number * prompts, (number + 1) * prompts):
        passed, within = divmod(place, tasks)
        task = int(_permutation(tasks, passed, seed)[within])
        orders += [
            Order(task, draw, sample_seed(seed, str(task), draw))
            for draw in range(passed * samples, (passed + 1) * samples)
        ]
    return orders


@lru_cache(maxsize=2)
def _permutation(tasks: int, passed: int, seed: int) -> Any:
    return np.random.default_rng([seed, passed]).permutation(tasks)


@dataclass(frozen=True, slots=True)
class Drawer:
    """What all drawing needs.

    Attributes:
        prompts: of the dataset's tasks.
        tokenizer: of the student.
        contract: what texts are held to.
        stop_ids: ids that end a completion.
        max_tokens: most completion tokens.
        context_length: longest prompt + completion, None for no limit.
    """

    prompts: Sequence[Prompt]
    tokenizer: ChatTokenizer
    contract: Contract
    stop_ids: tuple[int, ...]
    max_tokens: int
    context_length: int | None

    def limit(self, task: int) -> int:
        """Most completion tokens of a task."""
        return answer_limit(len(self.prompts[task].ids), self.max_tokens, self.context_length)

    def with_model(self, model: Any, orders: Sequence[Order]) -> list[Rollout]:
        """Draw with a transformers model in memory, which ends up in the mode it was in.

        Raises:
            IncompleteError: the device ran out of memory.
        """
        import torch

        size = DRAW_BATCH.get(model.device.type, ACCELERATOR_DRAW_BATCH)
        training = model.training
        model.eval()
        rollouts = []
        try:
            for start in range(0, len(orders), size):
                batch = orders[start : start + size]
                rollouts += self.rollouts(batch, self._generate(model, batch))
        except torch.cuda.OutOfMemoryError as error:
            raise IncompleteError(
                f"{model.device} ran out of memory while drawing rollouts; lower --max-tokens"
            ) from error
        finally:
            model.train(training)
        return rollouts

    def rollouts(self, orders: Sequence[Order], completions: Sequence[Sequence[int]]) -> list[Rollout]:
        """Rollouts from drawn token ids, judged by the contract.

        Args:
            orders: what was asked for.
            completions: token ids, cut after the first stop id.

        Raises:
            IncompleteError: an engine that gave no token at all.
        """
        drawn = []
        for order, token_ids in zip(orders, completions, strict=True):
            if not token_ids:
                raise IncompleteError(f"the behaviour policy gave no token for task {order.task}")
            known = self.prompts[order.task]
            reason: FinishReason = "stop" if token_ids[-1] in self.stop_ids else "length"
            parsed = self.contract.parse(self.tokenizer.decode(token_ids), known.task.k, finish_reason=reason)
            drawn.append(
                Rollout(
                    task=order.task,
                    draw=order.draw,
                    k=known.task.k,
                    prompt_ids=known.ids,
                    token_ids=tuple(token_ids),
                    finish_reason=reason,
                    strict=parsed.tier == "strict",
                )
            )
        return drawn

    def _generate(self, model: Any, orders: Sequence[Order]) -> list[list[int]]:
        import torch
        import transformers

        from harness.engines.hf_sampling import AnswerLimits, SeededSampler

        prompts = [self.prompts[order.task].ids for order in orders]
        limits = [self.limit(order.task) for order in orders]
        width, steps = max(map(len, prompts)), max(limits)
        pad = self.stop_ids[0]
        # Without the model's own settings (a repetition penalty, say), which generate would mix in.
        settings, model.generation_config = model.generation_config, transformers.GenerationConfig()
        try:
            with torch.no_grad():
                output = model.generate(
                    input_ids=torch.tensor(
                        [[pad] * (width - len(one)) + list(one) for one in prompts], device=model.device
                    ),
                    attention_mask=torch.tensor(
                        [[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=model.device
                    ),
                    generation_config=transformers.GenerationConfig(
                        max_new_tokens=steps,
                        do_sample=False,
                        eos_token_id=list(self.stop_ids),
                        pad_token_id=pad,
                    ),
                    logits_processor=[
                        SeededSampler([order.seed for order in orders], steps, temperature=1.0, top_p=1.0)
                    ],
                    stopping_criteria=[AnswerLimits(width, limits)],
                )
        finally:
            model.generation_config = settings
        rows = output[:, width:].tolist()
        return [self._cut(row[:limit]) for row, limit in zip(rows, limits, strict=True)]

    def _cut(self, token_ids: list[int]) -> list[int]:
        ends = (place for place, token in enumerate(token_ids) if token in self.stop_ids)
        return token_ids[: next(ends, len(token_ids)) + 1]


def open_drawer(
    student: Checkpoint,
    readers: Sequence[Checkpoint],
    tasks: Sequence[RankingTask],
    contract: Contract,
    *,
    max_tokens: int | None = None,
    trust_remote_code: bool = False,
) -> Drawer:
    """Encode prompts with the student's tokenizer, and check that they fit all models.

    Args:
        student: gives tokenizer, chat template and end tokens.
        readers: the other models that must have room for a rollout.
        tasks: at least one.
        contract: the output format asked for.
        max_tokens: most completion tokens; None is 64 + 8 K of the largest K.
        trust_remote_code: run Python code that comes with the tokenizer.

    Raises:
        EngineUnavailableError: no tokenizer, or one without an end token.
        DataError: a prompt that leaves no room for an answer.
    """
    tokenizer = ChatTokenizer(student.path, trust_remote_code)
    stops = tokenizer.stop_token_ids(student.stop_token_ids)
    if not stops:
        raise EngineUnavailableError(f"{student.name} has no end token, so no rollout could ever end")
    prompts = make_prompts(tasks, contract, tokenizer.encode)
    contexts = [one.context_length for one in (student, *readers)]
    context = min((one for one in contexts if one is not None), default=None)
    longest = max(len(one.ids) for one in prompts)
    if context is not None and longest >= context:
        raise DataError(
            f"a prompt of {longest} tokens leaves no room for an answer in a context of {context}; "
            "leave long tasks out or shorten their titles"
        )
    return Drawer(
        prompts=prompts,
        tokenizer=tokenizer,
        contract=contract,
        stop_ids=tuple(stops),
        max_tokens=max_tokens or TOKENS_BESIDE_IDS + TOKENS_AN_ID * max(task.k for task in tasks),
        context_length=context,
    )
