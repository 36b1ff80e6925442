"""Whether a run's answers are all wrong in the same way, and what would take them."""

from __future__ import annotations

from harness.contract import Terms
from harness.contract.diagnosis import LEAST_SHARE, MOST_LOOKED_AT, Answered, diagnosis
from harness.data.conversations import conversations
from harness.data.tasks import RankingTask, Task, as_text, terms_of
from harness.engines.tokenizer import REASONING
from harness.errors import DataError
from harness.metrics.table import CONTRACT
from harness.plain_text import plain
from harness.runs.loading import Run

_PROMPTS = 3
"""Prompts that are read to see whether they speak of the contract: all are made in one way."""


def same_mistake(run: Run) -> str | None:
    """One line where nearly all answers of a run break its contract in one way; None elsewhere.

    Its metrics are asked first, so that a run whose answers are right is hardly read.

    Raises:
        DataError: a file of the run can't be read.
    """
    validity = run.metrics.get(CONTRACT)
    if validity is None or validity.estimate is None or validity.estimate > 1.0 - LEAST_SHARE + 1e-9:
        return None
    step = -(-validity.n // MOST_LOOKED_AT) or 1
    samples = [
        sample
        for number, sample in enumerate(run.iter_samples())
        if number % step == 0 and sample.parse is not None
    ]
    wanted = {sample.task_id for sample in samples}
    tasks = {task.task_id: task for task in run.tasks() if task.task_id in wanted}
    answers = [
        Answered(sample.text, _terms(tasks[sample.task_id], run), sample.finish_reason)
        for sample in samples
        if sample.task_id in tasks
    ]
    # Of recorded outputs nobody knows what was asked.
    known = run.manifest.engine.tokenizer_sha256 is not None or any(
        sample.prompt_tokens is not None for sample in samples
    )
    prompts = _prompts(run, list(tasks.values())[:_PROMPTS]) if known else []
    found = diagnosis(answers, prompts, REASONING)
    return None if found is None else plain(found)


def _terms(task: Task, run: Run) -> Terms:
    """What an answer is held to, with the ids of the candidates, which another contract may want."""
    contract = run.manifest.contract
    if isinstance(task, RankingTask) and contract.kind == "listwise":
        return Terms(contract, task.k, tuple(item.item_id for item in task.candidates))
    return terms_of(task, contract)


def _prompts(run: Run, tasks: list[Task]) -> list[str]:
    manifest = run.manifest
    try:
        made = conversations(tasks, manifest.contract, manifest.prompt, guarded=manifest.guarded)
    except DataError:
        return []
    return [as_text(turns) for turns in made]
