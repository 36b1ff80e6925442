"""The hook by which a caller draws tasks in an order of its own and ends an evaluation early."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from harness.data.tasks import Task
from harness.engines import Capabilities, Engine, Generation, GenerationRequest, SamplingParams
from harness.runs import Manifest, Sample
from harness.runs.manifest import Stopped

Item = TypeVar("Item")

FIRST_WAVE = 32


class EarlyStop(Protocol):
    """Chooses which tasks are drawn in which order, sees every sample, and says when to end.

    What was drawn stays in the run directory, with status `incomplete` unless it is everything; `harness
    eval` with the same options goes on to the full evaluation.
    """

    def plan(
        self,
        manifest: Manifest,
        tasks: Sequence[Task],
        folder: Path,
        prompts: Mapping[str, str],
    ) -> Sequence[str]:
        """Ids of the tasks to draw, in this order; others wait for another session.

        Called once, before anything is drawn or written; what it raises ends the evaluation.

        Args:
            manifest: of the run that is about to begin or to go on.
            tasks: all of the dataset, in its order.
            folder: the run directory.
            prompts: by task, the hash of its prompt.
        """
        ...

    def enough(self, sample: Sample) -> bool:
        """Take a sample; True ends the evaluation.

        Samples of earlier sessions come first, then new ones as the engine finishes them, which isn't the
        order in which they were drawn: short answers finish sooner. Not called again after True.
        """
        ...

    def enough_without(self, task_id: str) -> bool:
        """Take notice that a sample of this task can't be had; True ends the evaluation.

        Told of everything like that at once, after the last sample.
        """
        ...

    def stopped(self) -> Stopped | None:
        """What to put on record where the samples ended the drawing; None where the budget did."""
        ...


def in_order(requests: Sequence[GenerationRequest], task_ids: Sequence[str]) -> list[GenerationRequest]:
    """The requests of these tasks, task by task in this order."""
    by_task: dict[str, list[GenerationRequest]] = {}
    for request in requests:
        by_task.setdefault(request.task_id, []).append(request)
    return [request for task_id in task_ids for request in by_task[task_id]]


def generate_all(
    engine: Engine, requests: Sequence[GenerationRequest], sampling: SamplingParams, done: frozenset[str]
) -> Generator[Generation, None, None]:
    """Draw everything that isn't done."""
    yield from engine.generate(requests, sampling, done=done)


def generate_in_waves(
    engine: Engine, requests: Sequence[GenerationRequest], sampling: SamplingParams, done: frozenset[str]
) -> Generator[Generation, None, None]:
    """Draw what isn't done piece by piece, so that little is drawn in vain if it ends early."""
    for wave in waves(requests, engine.capabilities):
        if any(request.key not in done for request in wave):
            yield from engine.generate(wave, sampling, done=done)


def waves(items: Sequence[Item], engine: Capabilities) -> Iterator[Sequence[Item]]:
    """Cut a plan into the pieces that an engine is given at a time, so that little is drawn in vain.

    An engine that forms batches from a plan and orders them as it likes gets one batch at a time. One that
    begins all of them at once gets a few, then as many as all before together, so that what is under way
    never exceeds what was needed already. The others take requests one by one.
    """
    if engine.batch_size is not None:
        for start in range(0, len(items), engine.batch_size):
            yield items[start : start + engine.batch_size]
    elif engine.begins_all:
        start, size = 0, FIRST_WAVE
        while start < len(items):
            yield items[start : start + size]
            start += size
            size = start
    else:
        yield items
