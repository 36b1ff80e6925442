"""What a causal model is to learn from a token sequence, and how ranking tasks become such examples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.contract import Contract, judge
from harness.data.conversations import DEFAULT_PROMPT
from harness.data.prompt_file import PromptRecord
from harness.data.tasks import PromptTask, Task, terms_of
from harness.engines.base import GenerationRequest, SamplingParams
from harness.engines.config import EngineConfig
from harness.engines.replay import ReplayEngine
from harness.engines.tokenizer import ChatTokenizer
from harness.errors import DataError
from harness.rollouts import make_prompts


@dataclass(frozen=True, slots=True)
class Example:
    """A sequence of T tokens with one target per position.

    Attributes:
        token_ids: [T] what the model reads.
        targets: [T] the token it is to predict after reading position t.
        weights: [T] ≥ 0, what that prediction counts; 0 where nothing is to be learnt.
    """

    token_ids: tuple[int, ...]
    targets: tuple[int, ...]
    weights: tuple[float, ...]


def completion_example(prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> Example:
    """Learn the completion, each token with weight 1, and nothing of the prompt.

    The last completion token (EOS) is a target and not read: nothing comes after it.

    Args:
        prompt_ids: at least one token.
        completion_ids: at least one token.
    """
    unlearnt = len(prompt_ids) - 1
    return Example(
        token_ids=(*prompt_ids, *completion_ids[:-1]),
        targets=(*prompt_ids[1:], *completion_ids),
        weights=(0.0,) * unlearnt + (1.0,) * len(completion_ids),
    )


def ideal_ranking(relevance: Sequence[float]) -> tuple[int, ...]:
    """Candidate numbers by falling relevance; equal labels in the order of the prompt."""
    return tuple(sorted(range(1, len(relevance) + 1), key=lambda number: (-relevance[number - 1], number)))


def right_answer(task: Task, contract: Contract) -> str:
    """What a model is to answer: `expected` as compact JSON, or the ideal ranking as the contract has it.

    Raises:
        DataError: the task doesn't say what is right, or the contract can't be kept by it.
    """
    if not isinstance(task, PromptTask):
        return terms_of(task, contract).answer(ideal_ranking(task.relevance))
    if not task.has_expected:
        raise DataError(f"task {task.task_id} has no `expected` to learn; add it or leave the task out")
    return json.dumps(task.expected, ensure_ascii=False, separators=(",", ":"))


def stored_answers(path: Path, tasks: Sequence[Task]) -> list[str]:
    """The answer that a file has for each task.

    Args:
        path: anything that the replay engine reads.
        tasks: at least one.

    Raises:
        DataError: no such file, or a task without an answer there.
    """
    asked = [GenerationRequest(task.task_id, task.task_id, 0, "", (), 0) for task in tasks]
    with closing(ReplayEngine(EngineConfig(engine="replay", replay=path))) as engine:
        texts = {one.key: one.text for one in engine.generate(asked, SamplingParams())}
    return [texts[task.task_id] for task in tasks]


def _require_strict(texts: Sequence[str], tasks: Sequence[Task], contract: Contract, source: str) -> None:
    """Refuse answers that break the contract: a model would learn to."""
    broken = []
    for text, task in zip(texts, tasks, strict=True):
        judged = judge(text, terms_of(task, contract))
        if judged.tier != "strict":
            broken.append(f"task {task.task_id}: {judged.code}, {judged.message}")
    if broken:
        raise DataError(
            f"{len(broken)} of {len(tasks)} answers {source} break the contract ({broken[0]}), and a model "
            "would learn to; mend them, or give others with `answers=`"
        )


def sft_examples(
    tasks: Sequence[Task],
    tokenizer: ChatTokenizer,
    contract: Contract,
    context_length: int | None = None,
    prompt: PromptRecord = DEFAULT_PROMPT,
    stored: Path | None = None,
) -> list[Example]:
    """Prompt → right answer and EOS, one example a task.

    Args:
        tasks: at least one.
        tokenizer: gives prompts, answers and EOS as the checkpoint's engine would see them.
        contract: the output format to teach.
        context_length: longest sequence the model takes, None for no limit.
        prompt: what prompts are made of.
        stored: file of the answers to teach, in place of the right ones that the tasks say.

    Raises:
        EngineUnavailableError: token ids that the model has no embedding for.
        DataError: a tokenizer without an end token, a task without a right answer, stored answers that lack
            one or break the contract, or a sequence longer than the context.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise DataError(f"{tokenizer.folder}: the tokenizer has no eos_token, so no answer could ever end")
    prompts = [one.ids for one in make_prompts(tasks, contract, tokenizer.encode, prompt)]
    if stored is None:
        texts = [right_answer(task, contract) for task in tasks]
    else:
        texts = stored_answers(stored, tasks)
    _require_strict(texts, tasks, contract, "of the tasks" if stored is None else f"in {stored}")
    answers = tokenizer.tokenizer(texts, add_special_tokens=False)["input_ids"]
    tokenizer.require_embedded([(*answer, eos) for answer in answers], "answer")
    examples = []
    for task, asked, answer in zip(tasks, prompts, answers, strict=True):
        length = len(asked) + len(answer) + 1
        if context_length is not None and length > context_length:
            raise DataError(
                f"task {task.task_id} takes {length} tokens and the model {context_length}; "
                "leave the task out or shorten its titles"
            )
        examples.append(completion_example(asked, (*answer, eos)))
    return examples
