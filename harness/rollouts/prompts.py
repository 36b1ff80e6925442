"""From tasks to prompts, and to the completions to draw of them, each with its key and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from harness.contract import Contract
from harness.data.conversations import DEFAULT_PROMPT, conversations
from harness.data.prompt_file import PromptRecord
from harness.data.tasks import Conversation, PromptTask, Task, as_text, terms_of
from harness.engines.base import EngineInfo, GenerationRequest, SamplingParams
from harness.engines.limits import usual_answer_tokens


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is put to a model for a task, and its token ids (empty where the engine has no tokenizer)."""

    task: Task
    messages: Conversation
    ids: tuple[int, ...]

    @property
    def text(self) -> str:
        """The messages as one text."""
        return as_text(self.messages)

    @property
    def sha256(self) -> str:
        """Hash of the token ids, or of the text where there are none."""
        content = json.dumps(self.ids) if self.ids else self.text
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


class Encode(Protocol):
    """Token ids of conversations, chat template applied: an engine's, or a tokenizer's."""

    def __call__(
        self, prompts: Sequence[Conversation], arguments: Mapping[str, Any] | None = None, /
    ) -> Sequence[tuple[int, ...]]:
        """As `Engine.encode`."""
        ...


def make_prompts(
    tasks: Sequence[Task],
    contract: Contract,
    encode: Encode,
    prompt: PromptRecord = DEFAULT_PROMPT,
    *,
    guarded: bool = False,
) -> list[Prompt]:
    """Prompts of tasks, in their order.

    Args:
        tasks: what is asked.
        contract: the output format asked for.
        encode: token ids of conversations.
        prompt: what the conversations are made of, and what the chat template is told.
        guarded: as `conversations`: for an engine that doesn't know its tokenizer (`Capabilities.defuses`).

    Raises:
        DataError: a prompt can't be made.
        EngineUnavailableError: one can't be encoded.
    """
    asked = conversations(tasks, contract, prompt, guarded=guarded)
    ids = encode(asked, prompt.chat_template_kwargs)
    return [Prompt(*parts) for parts in zip(tasks, asked, ids, strict=True)]


_FREE_ROOM = 512
"""Tokens of an answer to a prompt of its own, whose length nobody knows."""
_THINKING_ROOM = 4096


def answer_room(tasks: Sequence[Task], contract: Contract, prompt: PromptRecord = DEFAULT_PROMPT) -> int:
    """Most tokens of an answer where nobody says: room for any usual spelling, and for thinking if asked for.

    Args:
        tasks: at least one.
        contract: of the answers.
        prompt: what they are asked by.
    """
    largest = max(tasks, key=lambda task: task.k)
    room = usual_answer_tokens(largest.k)
    if any(isinstance(task, PromptTask) for task in tasks) or contract.kind == "schema":
        room = max(room, _FREE_ROOM)
    elif not contract.is_plain:
        # What names a candidate may take a token a byte, and reasons may stand beside it.
        longest = max(len((terms_of(task, contract).example() or "").encode()) for task in tasks)
        room += longest if contract.id_field is None else longest + _FREE_ROOM
    return room + _THINKING_ROOM * bool(prompt.chat_template_kwargs.get("enable_thinking"))


def sample_key(checkpoint: str, prompt: Prompt, sampling: SamplingParams, index: int) -> str:
    """Key of a sample: hash of the checkpoint, the prompt, the sampling parameters, the seed and the index.

    The task id is in it too: two tasks may share a prompt and yet have different labels.
    """
    parts = [checkpoint, prompt.task.task_id, prompt.sha256, asdict(sampling), index]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def sample_seed(seed: int, task_id: str, index: int) -> int:
    """Seed of one sample in [0, 2**31): the same whatever else runs, and for every checkpoint."""
    digest = hashlib.sha256(json.dumps([seed, task_id, index]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def plan_requests(
    prompts: Sequence[Prompt],
    info: EngineInfo,
    sampling: SamplingParams,
    samples: int,
    contract: Contract,
) -> list[GenerationRequest]:
    """One request a task and sample index, in dataset order."""
    checkpoint = info.weights_sha256 or info.checkpoint
    terms = [terms_of(prompt.task, contract) for prompt in prompts]
    schemas = {one: one.engine_schema() for one in set(terms)} if sampling.constrained else {}
    return [
        GenerationRequest(
            key=sample_key(checkpoint, prompt, sampling, index),
            task_id=prompt.task.task_id,
            sample_index=index,
            prompt_text=prompt.text,
            prompt_ids=prompt.ids,
            messages=prompt.messages,
            seed=sample_seed(sampling.seed, prompt.task.task_id, index),
            schema=schemas.get(held_to),
        )
        for prompt, held_to in zip(prompts, terms, strict=True)
        for index in range(samples)
    ]
