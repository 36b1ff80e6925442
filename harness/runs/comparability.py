"""Whether two runs asked the same of their checkpoints."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from harness.data.tasks import RankingTask
from harness.errors import RunMismatchError
from harness.metrics.columns import Columns, TaskTable
from harness.plain_text import plain
from harness.runs.columns import Measure, read_task_rows
from harness.runs.loading import Run
from harness.runs.manifest import Manifest

Common = Annotated[bool, Field(description="Compare unlike runs on the tasks they share.")]

_SAMPLING = ("temperature", "top_p", "max_tokens", "constrained")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between a run and its baseline beside the checkpoint.

    Attributes:
        differences: `field: baseline → run` of what decides the answers; the runs aren't comparable.
        remarks: likewise, of what need not matter.
    """

    differences: tuple[str, ...]
    remarks: tuple[str, ...]


def compare_manifests(candidate: Manifest, baseline: Manifest) -> Comparison:
    """Compare what two runs asked: dataset, contract, prompt, chat template and sampling must be equal.

    Checkpoints are expected to differ. A seed, an engine, a dtype or a tokenizer may; a chat template that
    one side doesn't know can't be compared: these are remarks.
    """
    differences = _differing(_asked(baseline), _asked(candidate))
    remarks = _differing(_beside(baseline), _beside(candidate))
    new, old = candidate.engine.chat_template_sha256, baseline.engine.chat_template_sha256
    if new != old:
        both_known = new is not None and old is not None
        (differences if both_known else remarks).append(_difference("engine.chat_template_sha256", old, new))
    return Comparison(tuple(differences), tuple(remarks))


@dataclass(frozen=True, slots=True)
class Pairing:
    """A baseline that may be compared with, and on which tasks.

    Attributes:
        run: the baseline.
        tasks: ids of the common tasks, None for all that both have.
        notes: what differs.
    """

    run: Run
    tasks: frozenset[str] | None
    notes: tuple[str, ...]

    def pair(self, candidate: TaskTable, theirs: TaskTable) -> tuple[TaskTable, TaskTable]:
        """Both tables on the tasks they share, in the same order."""
        there = set(theirs.task_ids)
        ids = [
            one for one in candidate.task_ids if one in there and (self.tasks is None or one in self.tasks)
        ]
        return candidate.of_tasks(ids), theirs.of_tasks(ids)


def pair_runs(
    manifest: Manifest, tasks: Iterable[RankingTask | dict[str, Any]], baseline: Run, *, common: bool
) -> Pairing:
    """Check that a run may be compared with a baseline.

    Args:
        manifest: of the run.
        tasks: its tasks; read only when `common` needs them.
        baseline: what it is to be compared with.
        common: compare runs that asked different things, on the tasks they share.

    Raises:
        RunMismatchError: they asked different things and `common` isn't set, or have no task in common.
        DataError: tasks can't be read.
    """
    comparison = compare_manifests(manifest, baseline.manifest)
    remarks = tuple(f"the baseline differs in {one} (baseline → run)" for one in comparison.remarks)
    if not comparison.differences:
        return Pairing(baseline, None, remarks)
    listed = "; ".join(comparison.differences)
    if not common:
        raise RunMismatchError(
            f"the run and its baseline {baseline.path} aren't comparable: {listed} (baseline → run); "
            "evaluate both alike, or compare the common tasks with `common=True`"
        )
    theirs = {task["task_id"]: _content(task) for task in read_task_rows(baseline)}
    rows = (task if isinstance(task, dict) else json.loads(task.model_dump_json()) for task in tasks)
    shared = frozenset(task["task_id"] for task in rows if theirs.get(task["task_id"]) == _content(task))
    if not shared:
        raise RunMismatchError(
            f"the run and its baseline {baseline.path} have no task in common; evaluate both on one dataset"
        )
    note = f"compared on {len(shared)} common tasks although the runs differ in {listed} (baseline → run)"
    return Pairing(baseline, shared, (note, *remarks))


PROMPT: dict[str, Measure] = {"prompt": lambda sample: float(zlib.crc32(sample.prompt_sha256.encode()))}
"""A column for `read_columns`: a number that stands for a sample's prompt, the same for the same prompt."""


def require_same_prompts(
    pairing: Pairing, manifest: Manifest, mine: Columns, theirs: Columns, *, common: bool
) -> tuple[str, ...]:
    """Refuse runs that were asked in other words, though their datasets, contracts and templates agree.

    A chat template may write today's date. Prompts are hashed as token ids, so that those of two tokenizers
    can't be compared; nor can those of two engines without any.

    Args:
        pairing: the baseline.
        manifest: of the run.
        mine: its samples, with `PROMPT` among their columns.
        theirs: those of the baseline.
        common: note it instead.

    Returns:
        Notes on what differs.

    Raises:
        RunMismatchError: prompts differ, and `common` isn't set.
    """
    new, old = manifest.engine, pairing.run.manifest.engine
    if new.tokenizer_sha256 != old.tokenizer_sha256 or (
        new.tokenizer_sha256 is None and new.name != old.name
    ):
        return ()
    asked, before = _prompts(mine), _prompts(theirs)
    shared = asked.keys() & before.keys()
    if pairing.tasks is not None:
        shared &= pairing.tasks
    others = sum(asked[task_id] != before[task_id] for task_id in shared)
    if not others:
        return ()
    found = f"{others} of {len(shared)} tasks were asked by other prompts"
    if not common:
        raise RunMismatchError(
            f"the run and its baseline {pairing.run.path} aren't comparable: {found}, such as those of a "
            "chat template that writes the date; evaluate both alike, or compare all the same with "
            "`common=True`"
        )
    return (f"{found} than the baseline's",)


def _prompts(columns: Columns) -> dict[str, float]:
    """By task: its samples all answer one prompt."""
    (name,) = PROMPT
    rows = zip(columns.task.tolist(), columns.values[name].tolist(), strict=True)
    return {columns.task_ids[task]: mark for task, mark in rows}


def _content(task: dict[str, Any]) -> str:
    """What the model sees and what it is scored by; `meta` is neither."""
    return json.dumps({name: task[name] for name in task if name != "meta"}, sort_keys=True)


def _asked(manifest: Manifest) -> dict[str, Any]:
    return {
        "dataset.sha256": manifest.dataset.sha256,
        "tasks": manifest.tasks,
        **{f"contract.{name}": value for name, value in manifest.contract.model_dump().items()},
        "prompt_version": manifest.prompt_version,
        **{f"sampling.{name}": manifest.sampling.get(name) for name in _SAMPLING},
        "samples_per_task": manifest.samples_per_task,
    }


def _beside(manifest: Manifest) -> dict[str, Any]:
    engine = manifest.engine
    return {
        "sampling.seed": manifest.sampling.get("seed"),
        "engine.name": engine.name,
        "engine.version": engine.version,
        "engine.dtype": engine.options.get("dtype"),
        "engine.tokenizer_sha256": engine.tokenizer_sha256,
    }


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [_difference(name, old[name], new[name]) for name in new if old[name] != new[name]]


def _difference(name: str, old: Any, new: Any) -> str:
    return f"{name}: {_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    text = "unknown" if value is None else plain(str(value))
    return text[:12] + "…" if len(text) > 40 else text
