"""From tasks to prompts, and to the completions to draw of them, each with its key and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from harness.contract import Contract
from harness.data.prompt import render_prompt
from harness.data.tasks import Task, terms_of
from harness.engines.base import EngineInfo, GenerationRequest, SamplingParams


@dataclass(frozen=True, slots=True)
class Prompt:
    """A task's user message and its token ids (empty where the engine has no tokenizer)."""

    task: Task
    text: str
    ids: tuple[int, ...]

    @property
    def sha256(self) -> str:
        """Hash of the token ids, or of the text where there are none."""
        content = json.dumps(self.ids) if self.ids else self.text
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def make_prompts(
    tasks: Sequence[Task],
    contract: Contract,
    encode: Callable[[Sequence[str]], Sequence[tuple[int, ...]]],
) -> list[Prompt]:
    """Prompts of tasks, in their order.

    Args:
        tasks: what is asked.
        contract: the output format asked for.
        encode: token ids of user messages, chat template applied: an engine's, or a tokenizer's.
    """
    texts = [render_prompt(task, contract) for task in tasks]
    return [Prompt(*parts) for parts in zip(tasks, texts, encode(texts), strict=True)]


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
            seed=sample_seed(sampling.seed, prompt.task.task_id, index),
            schema=schemas.get(held_to),
        )
        for prompt, held_to in zip(prompts, terms, strict=True)
        for index in range(samples)
    ]
