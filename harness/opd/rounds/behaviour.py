"""The behaviour policy: the student in memory, or a vLLM engine started on its saved weights."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.engines import EngineConfig, open_engine
from harness.engines.base import GenerationRequest, SamplingParams
from harness.engines.checkpoint import Checkpoint
from harness.errors import IncompleteError
from harness.opd.models.loading import Policies, save_whole
from harness.opd.models.policy import Policy
from harness.opd.rounds.drawing import Drawer, Order, Rollout


def draw_with_student(policies: Policies, drawer: Drawer, orders: Sequence[Order]) -> list[Rollout]:
    """Draw this process's rollouts with the student's present weights."""
    with policies.whole_student() as student:
        return drawer.with_model(student.model, orders)


def draw_with_vllm(
    student: Policy, start: Checkpoint, drawer: Drawer, orders: Sequence[Order]
) -> list[Rollout]:
    """Save the student, start vLLM on it, draw, and close it again.

    An engine takes 10 to 60 seconds to start, every round: this pays with long completions, large rounds
    and large models only. vLLM rounds otherwise than the student, so ratios are made from the student's own
    logprobs of these tokens and not from vLLM's.

    Args:
        student: with all its weights.
        start: checkpoint that the student began from, for its tokenizer.
        drawer: prompts and limits.
        orders: what to draw.

    Raises:
        EngineUnavailableError: vLLM isn't installed or can't load the weights.
        IncompleteError: it died.
    """
    requests = [
        GenerationRequest(
            key=str(number),
            task_id=drawer.tasks[order.task].task.task_id,
            sample_index=order.draw,
            prompt_text="",
            prompt_ids=drawer.tasks[order.task].prompt_ids,
            seed=order.seed,
        )
        for number, order in enumerate(orders)
    ]
    sampling = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=drawer.max_tokens)
    with _saved(student, start) as folder:
        engine = open_engine(EngineConfig(engine="vllm", ckpt=str(folder), enforce_eager=True))
        with contextlib.closing(engine):
            engine.start()
            drawn = {int(one.key): one.token_ids for one in engine.generate(requests, sampling)}
    if missing := len(orders) - len(drawn):
        raise IncompleteError(f"vLLM ended without {missing} of {len(orders)} rollouts; use --resume")
    return drawer.rollouts(orders, [drawn[number] for number in range(len(orders))])


@contextlib.contextmanager
def _saved(student: Policy, start: Checkpoint) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="harness-behaviour-"))
    try:
        save_whole(student, start, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
