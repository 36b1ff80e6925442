"""An engine as the behaviour policy, started on the student's saved weights."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.engines import EngineConfig, open_engine
from harness.engines.base import GenerationRequest
from harness.engines.checkpoint import Checkpoint
from harness.engines.config import EngineName
from harness.errors import IncompleteError
from harness.opd.models.loading import save_whole
from harness.opd.models.policy import Policy
from harness.opd.rounds.drawing import Drawer, Order
from harness.rollouts import Rollout


def draw_with_engine(
    name: EngineName, student: Policy, start: Checkpoint, drawer: Drawer, orders: Sequence[Order]
) -> list[Rollout]:
    """Save the student, start an engine on it, draw, and close it again.

    vLLM takes 10 to 60 seconds to start, every round: this pays with long completions, large rounds and large
    models only. It rounds otherwise than the student, so ratios are made from the student's own logprobs of
    these tokens and not from the engine's.

    Args:
        name: of the engine.
        student: with all its weights.
        start: checkpoint that the student began from, for its tokenizer.
        drawer: prompts and limits.
        orders: what to draw.

    Raises:
        EngineUnavailableError: it isn't installed or can't load the weights.
        IncompleteError: it died.
    """
    requests = [
        GenerationRequest(
            key=str(number),
            task_id=drawer.prompts[order.task].task.task_id,
            sample_index=order.draw,
            prompt_text="",
            prompt_ids=drawer.prompts[order.task].ids,
            seed=order.seed,
        )
        for number, order in enumerate(orders)
    ]
    with _saved(student, start) as folder:
        engine = open_engine(EngineConfig(engine=name, ckpt=str(folder), enforce_eager=True))
        with contextlib.closing(engine):
            engine.start()
            drawn = {int(one.key): one.token_ids for one in engine.generate(requests, drawer.sampling)}
    if missing := len(orders) - len(drawn):
        raise IncompleteError(f"{name} ended without {missing} of {len(orders)} rollouts; use `resume=True`")
    return drawer.rollouts(orders, [drawn[number] for number in range(len(orders))])


@contextlib.contextmanager
def _saved(student: Policy, start: Checkpoint) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="harness-behaviour-"))
    try:
        save_whole(student, start, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
