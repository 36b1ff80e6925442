"""Rollouts: which prompts a round has, and what a behaviour policy says to them at T = 1, top_p = 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from harness.contract import Contract, judge
from harness.data.conversations import DEFAULT_PROMPT
from harness.data.prompt_file import PromptRecord
from harness.data.tasks import Task, terms_of
from harness.engines.base import SamplingParams
from harness.engines.checkpoint import Checkpoint
from harness.engines.hf_generate import generate
from harness.engines.limits import how_it_ended, shortest
from harness.engines.tokenizer import ChatTokenizer
from harness.engines.whole import embeddings_of
from harness.errors import DataError, EngineUnavailableError, IncompleteError
from harness.rollouts import Prompt, Rollout, answer_room, make_prompts, sample_seed

# Prompts a batch of transformers' generate; more keep the keys and values of more rows in memory.
DRAW_BATCH = {"cpu": 64}
ACCELERATOR_DRAW_BATCH = 256


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
        sampling: T = 1, top_p = 1, and most completion tokens.
        context_length: longest prompt + completion, None for no limit.
    """

    prompts: Sequence[Prompt]
    tokenizer: ChatTokenizer
    contract: Contract
    stop_ids: tuple[int, ...]
    sampling: SamplingParams
    context_length: int | None

    def with_model(self, model: Any, orders: Sequence[Order]) -> list[Rollout]:
        """Draw with a transformers model in memory, which ends up in the mode it was in.

        Raises:
            IncompleteError: the device ran out of memory.
        """
        size = DRAW_BATCH.get(model.device.type, ACCELERATOR_DRAW_BATCH)
        rollouts = []
        for start in range(0, len(orders), size):
            batch = orders[start : start + size]
            completions = generate(
                model,
                [self.prompts[order.task].ids for order in batch],
                [order.seed for order in batch],
                self.sampling,
                stop_ids=self.stop_ids,
                context_length=self.context_length,
            )
            rollouts += self.rollouts(batch, completions)
        return rollouts

    def rollouts(self, orders: Sequence[Order], completions: Sequence[Sequence[int]]) -> list[Rollout]:
        """Rollouts from drawn token ids, judged by the contract.

        Args:
            orders: what was asked for.
            completions: token ids, cut after the first stop id.

        Raises:
            IncompleteError: an engine that gave no token at all.
            EngineUnavailableError: a token that one of the models has no embedding for.
        """
        self.tokenizer.require_embedded(completions, "rollout")
        drawn = []
        for order, token_ids in zip(orders, completions, strict=True):
            if not token_ids:
                raise IncompleteError(f"the behaviour policy gave no token for task {order.task}")
            known = self.prompts[order.task]
            reason = how_it_ended(token_ids, self.stop_ids)
            text = self.tokenizer.decode(token_ids)
            terms = terms_of(known.task, self.contract)
            parsed = judge(text, terms, finish_reason=reason)
            drawn.append(
                Rollout(
                    task=order.task,
                    draw=order.draw,
                    terms=terms,
                    prompt_ids=known.ids,
                    token_ids=tuple(token_ids),
                    finish_reason=reason,
                    strict=parsed.tier == "strict",
                )
            )
        return drawn


def open_drawer(
    student: Checkpoint,
    readers: Sequence[Checkpoint],
    tasks: Sequence[Task],
    contract: Contract,
    prompt: PromptRecord = DEFAULT_PROMPT,
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
        prompt: what prompts are made of.
        max_tokens: most completion tokens; None is 64 + 8 K of the largest K.
        trust_remote_code: run Python code that comes with the tokenizer.

    Raises:
        EngineUnavailableError: no tokenizer, one without an end token, or one that gives a prompt ids that a
            model has no embedding for.
        DataError: a prompt that leaves no room for an answer.
    """
    embeddings = {one.name: embeddings_of(one, trust_remote_code) for one in (student, *readers)}
    tokenizer = ChatTokenizer(student.path, trust_remote_code, embeddings)
    stops = tokenizer.stop_token_ids(student.stop_token_ids)
    if not stops:
        raise EngineUnavailableError(f"{student.name} has no end token, so no rollout could ever end")
    prompts = make_prompts(tasks, contract, tokenizer.encode, prompt)
    context = shortest(*(one.context_length for one in (student, *readers)))
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
        sampling=SamplingParams(
            temperature=1.0, max_tokens=max_tokens or answer_room(tasks, contract, prompt)
        ),
        context_length=context,
    )
