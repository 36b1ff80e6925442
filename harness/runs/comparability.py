"""Whether two runs asked the same of their checkpoints."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from harness.data.tasks import Task
from harness.errors import RunMismatchError
from harness.metrics.columns import Columns, TaskTable
from harness.plain_text import plain
from harness.runs.columns import Measure, read_task_rows
from harness.runs.loading import Run
from harness.runs.manifest import ANSWERED_BY, ONLY_REASONING, EngineRecord, Manifest

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
    manifest: Manifest, tasks: Iterable[Task | dict[str, Any]], baseline: Run, *, common: bool
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


PROMPT: dict[str, Measure] = {"prompt": lambda sample: prompt_mark(sample.prompt_sha256)}
"""A column for `read_columns`: a number that stands for a sample's prompt, the same for the same prompt."""

_WAYS = ("chat_template_arguments", "content_format", "named_tokens")
"""What of an engine's options decides how a prompt is rendered."""


_TEXTS_ONLY = (
    "prompts were compared with the baseline's as message texts; what the servers' templates made of them "
    "isn't known"
)


def prompt_mark(sha256: str) -> float:
    """The number that stands for a prompt with this hash."""
    return float(zlib.crc32(sha256.encode()))


def prompts_of(columns: Columns) -> dict[str, float]:
    """Marks of the prompts by task, of columns with `PROMPT` among them: a task has one prompt."""
    (name,) = PROMPT
    rows = zip(columns.task.tolist(), columns.values[name].tolist(), strict=True)
    return {columns.task_ids[task]: mark for task, mark in rows}


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of two runs side by side.

    Attributes:
        differing: tasks that were asked by other prompts.
        shared: tasks that both have; None where their prompts can't be compared.
        why: what made them differ, or why they can't be compared.
    """

    differing: int
    shared: int | None
    why: str = ""

    @property
    def said(self) -> str | None:
        """`3 of 60 tasks were asked by other prompts (why)`; None where nothing differs or none is known."""
        if not self.differing:
            return None
        return f"{self.differing} of {self.shared} tasks were asked by other prompts ({self.why})"


def compare_prompts(
    mine: Manifest,
    theirs: Manifest,
    asked: Mapping[str, float],
    before: Mapping[str, float],
    tasks: frozenset[str] | None = None,
) -> Prompts:
    """Compare what two runs asked, prompt by prompt, as the model read it.

    Prompts are hashed as token ids, so those of two tokenizers can't be compared; where neither run knows of
    any, as with chat messages to a server, the messages' texts are compared, and what the servers' templates
    made of them isn't known.

    Args:
        mine: manifest of a run.
        theirs: of what it is held against.
        asked: by task, marks of the run's prompts.
        before: likewise of the other.
        tasks: those that matter, None for all that both have.
    """
    new, old = mine.engine, theirs.engine
    if new.tokenizer_sha256 != old.tokenizer_sha256:
        return Prompts(0, None, "the runs have different tokenizers, or one of them none")
    if new.tokenizer_sha256 is None and (
        new.name != old.name or new.options.get("prompts") != old.options.get("prompts")
    ):
        return Prompts(0, None, "the runs have no token ids to compare")
    shared = asked.keys() & before.keys()
    if tasks is not None:
        shared &= tasks
    differing = sum(asked[task_id] != before[task_id] for task_id in shared)
    return Prompts(differing, len(shared), _why(mine, theirs) if differing else "")


def _why(mine: Manifest, theirs: Manifest) -> str:
    """What the manifests say of why the same tasks gave other prompts."""
    new, old = mine.engine, theirs.engine
    found = []
    if new.chat_template_sha256 != old.chat_template_sha256:
        found.append("other chat templates")
    for name in _WAYS:
        before, after = (engine.options.get(name) for engine in (old, new))
        if before is not None and after is not None and before != after:
            found.append(f"{name} {plain(str(before))} → {plain(str(after))}")
    if mine.dataset.sha256 != theirs.dataset.sha256:
        found.append("other dataset files")
    if mine.prompt.sha256 != theirs.prompt.sha256:
        found.append("other prompt files, system turns or chat template arguments")
    if mine.prompt_version != theirs.prompt_version or mine.contract != theirs.contract:
        found.append("another instruction")
    if found:
        return "; ".join(found)
    if ("flattened" in mine.titles) != ("flattened" in theirs.titles):
        return "an earlier version of the harness cut titles at 200 characters and put a space after brackets"
    if new.tokenizer_sha256 is None and new.options.get("prompts") == "token ids from the server":
        return "the server's own template gave others: it was exchanged, or writes the date"
    if mine.harness_version != theirs.harness_version or _begun_with(new) != _begun_with(old):
        return "an earlier version of the harness let templates write the date"
    return "the manifests agree in all that makes a prompt"


def _begun_with(engine: EngineRecord) -> set[str]:
    """Names of the options that don't depend on what was answered."""
    return engine.options.keys() - {ANSWERED_BY, ONLY_REASONING}


def require_same_prompts(
    pairing: Pairing,
    manifest: Manifest,
    asked: Mapping[str, float],
    before: Mapping[str, float],
    *,
    common: bool,
) -> tuple[str, ...]:
    """Refuse runs that were asked in other words, though their datasets, contracts and templates agree.

    Args:
        pairing: the baseline.
        manifest: of the run.
        asked: by task, marks of its prompts.
        before: those of the baseline.
        common: note it instead.

    Returns:
        Notes on what differs.

    Raises:
        RunMismatchError: prompts differ, and `common` isn't set.
    """
    found = compare_prompts(manifest, pairing.run.manifest, asked, before, pairing.tasks)
    if found.shared is None:
        return (f"prompts weren't compared with the baseline's: {found.why}",)
    if found.said is None:
        return (_TEXTS_ONLY,) if manifest.engine.options.get("prompts") == "chat messages" else ()
    if not common:
        raise RunMismatchError(
            f"the run and its baseline {pairing.run.path} aren't comparable: {found.said}; evaluate both "
            "alike, or compare all the same with `common=True`"
        )
    return (f"against the baseline, {found.said}",)


def _content(task: dict[str, Any]) -> str:
    """What the model sees and what it is scored by; `meta` is neither."""
    return json.dumps({name: task[name] for name in task if name != "meta"}, sort_keys=True)


def _asked(manifest: Manifest) -> dict[str, Any]:
    return {
        "dataset.sha256": manifest.dataset.sha256,
        "tasks": manifest.tasks,
        **{f"contract.{name}": value for name, value in manifest.contract.model_dump().items()},
        "prompt_version": manifest.prompt_version,
        "prompt": manifest.prompt.sha256,
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
        "reasoning_end": manifest.prompt.reasoning_end,
    }


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [_difference(name, old[name], new[name]) for name in new if old[name] != new[name]]


def _difference(name: str, old: Any, new: Any) -> str:
    return f"{name}: {_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    text = "unknown" if value is None else plain(str(value))
    return text[:12] + "…" if len(text) > 40 else text
