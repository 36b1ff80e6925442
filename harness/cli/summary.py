"""The tables that `harness eval` and `harness rescore` print."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import chain
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from harness.cli.consoles import line
from harness.cli.problems import as_flags
from harness.cli.tables import metric_table, titled
from harness.masking import masked
from harness.metrics.table import FAILURES, METRICS, WITHHELD, adds_nothing, metrics_in
from harness.runs import Run
from harness.runs.diagnosis import same_mistake
from harness.runs.hidden_tokens import hidden_tokens

_EXAMPLE_CHARACTERS = 60
_CANT_RANK = {
    "task_rate.no_relevant": "have no relevant candidate",
    "task_rate.all_tied": "have the same label on every candidate",
}


def as_document(run: Run, cliff: dict[str, Any] | None = None) -> dict[str, Any]:
    """The run for machines: where it lies, its status, every metric, tokens and time.

    Args:
        run: a stored run.
        cliff: the content of `cliff.json`, where λ* was estimated with it.
    """
    manifest = run.manifest
    document: dict[str, Any] = {
        "run": str(run.path),
        "status": manifest.status,
        "checkpoint": manifest.engine.checkpoint,
        "engine": manifest.engine.name,
        "dataset": manifest.dataset.name,
        "split": manifest.dataset.split,
        "hidden_tokens": hidden_tokens(run).counts,
        "metrics": {name: asdict(estimate) for name, estimate in run.metrics.items()},
        "missing": [one.model_dump() for one in manifest.missing],
        "sessions": [session.model_dump() for session in manifest.sessions],
    }
    if cliff is not None:
        document["cliff"] = cliff
    return document


def print_run(run: Run, console: Console) -> None:
    """Parse validity, failures with an example each, ranking, and what it cost: side by side, not blended."""
    console.print(_headline(run))
    for title in dict.fromkeys(metric.group for metric in metrics_in(run.metrics) or METRICS.values()):
        table = _failure_table(run) if title == FAILURES else _metric_table(run, title)
        if table is not None:
            console.print(table)
    for remark in [*_notes(run), *_left_out(run)]:
        console.print(remark)
    if hidden := hidden_tokens(run).remark():
        console.print(line(hidden))
    console.print(_footer(run))


def _headline(run: Run) -> Text:
    manifest = run.manifest
    dataset = manifest.dataset.name + (f" ({manifest.dataset.split})" if manifest.dataset.split else "")
    engine = f"{manifest.engine.name} {manifest.engine.version}"
    return line(
        f"{manifest.engine.checkpoint} on {dataset}: {manifest.tasks} tasks × "
        f"{manifest.samples_per_task}, {engine}{_how_far(run)}"
    )


def _how_far(run: Run) -> str:
    """What a run that isn't complete holds, and how it goes on."""
    manifest = run.manifest
    if manifest.status == "complete":
        return ""
    there = f"{sum(1 for _ in run.iter_samples())} of {manifest.planned} samples"
    if manifest.stopped is not None:
        return f"; {there}: its live gate had seen enough"
    return f"; {there}: incomplete, go on with the same harness eval"


def _metric_table(run: Run, title: str) -> Table:
    of_stem: dict[str, list[str]] = {}
    for metric in metrics_in(run.metrics):
        known = not (metric.rare and not run.metrics[metric.name].estimate)
        known = known and not adds_nothing(metric.name, run.metrics)
        if metric.group == title and known and metric.name not in _CANT_RANK:
            of_stem.setdefault(metric.name.partition(".")[0], []).append(metric.name)
    rows = {name: run.metrics[name] for name in chain.from_iterable(of_stem.values())}
    rates = {metric.name for metric in metrics_in(rows) if metric.is_rate}
    return metric_table(title, rows, lambda name: name in rates)


def _failure_table(run: Run) -> Table | None:
    counts: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    for sample in run.iter_samples():
        code = None if sample.parse is None else sample.parse.code
        if code is not None:
            counts[code] += 1
            examples.setdefault(code, (sample.task_id, sample.text))
    if not counts:
        return None
    table = titled("Failures", expand=True)
    table.add_column("code", min_width=24, no_wrap=True)
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("example", overflow="ellipsis", no_wrap=True, ratio=1)
    for name, count in counts.most_common():
        task_id, text = examples[name]
        shown = _quoted(masked(text))
        table.add_row(name, str(count), line(f"{shown}  {task_id}"))
    return table


def _quoted(text: str) -> str:
    """How an answer begins: letters as they are, white space that isn't a plain blank as its escape."""
    return repr(text[:_EXAMPLE_CHARACTERS]) + ("…" if len(text) > _EXAMPLE_CHARACTERS else "")


def _notes(run: Run) -> list[Text]:
    """What the engine says of its checkpoint that a reader of the numbers should know."""
    notes = run.manifest.engine.options.get("notes")
    return [line(f"note: {note}") for note in notes] if isinstance(notes, list) else []


def _left_out(run: Run) -> list[Text]:
    """What is in no rate, or in no NDCG, or isn't as it was asked for, and must be seen."""
    remarks = [line(remark) for remark in run.manifest.remarks]
    if mistake := same_mistake(run):
        remarks.append(line(f"hint: {as_flags(mistake)}"))
    if missing := run.manifest.missing:
        remarks.append(
            line(
                f"{len(missing)} of {run.manifest.planned} samples couldn't be had and count nowhere above "
                f"(first: of task {missing[0].task_id}, {missing[0].cause})"
            )
        )
    withheld = run.metrics.get(WITHHELD)
    if withheld is not None and withheld.estimate:
        count = round(withheld.estimate * withheld.n)
        remarks.append(
            Text(
                f"{count} of {withheld.n} answers were withheld by the provider: counted apart, in none of "
                "the numbers above but withheld_rate; a gate takes them at their worst and at their best"
            )
        )
    for name, reason in _CANT_RANK.items():
        rate = run.metrics.get(name)
        if rate is not None and rate.estimate:
            tasks = round(rate.estimate * rate.n)
            remarks.append(Text(f"{tasks} of {rate.n} tasks {reason}: left out of NDCG"))
    return remarks


def _footer(run: Run) -> Group:
    sessions = run.manifest.sessions
    generated = sum(session.generated for session in sessions)
    tokens = sum(session.completion_tokens for session in sessions)
    prompt_tokens = sum(session.prompt_tokens for session in sessions)
    seconds = sum(session.generate_seconds or 0.0 for session in sessions)
    loading = sum(session.load_seconds or 0.0 for session in sessions)
    killed = sum(session.status == "killed" for session in sessions)
    parts = f" in {len(sessions)} sessions" if len(sessions) > 1 else ""
    parts += f", {killed} of them killed" if killed else ""
    rate = f", {tokens / seconds:.0f} tokens/s" if seconds > 0 and tokens else ""
    return Group(
        Text(
            f"{generated} samples{parts}, {prompt_tokens} prompt and {tokens} completion tokens; "
            f"loading {loading:.1f} s, generating {seconds:.1f} s{rate}"
        ),
        line(f"run: {run.path}"),
    )
