"""The tables that `harness eval` and `harness rescore` print."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from itertools import chain
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from harness.cli.tables import metric_table, titled
from harness.engines.base import REMARKS
from harness.metrics.table import FAILURES, METRICS
from harness.runs import Run
from harness.runs.text import plain

_EXAMPLE_CHARACTERS = 60
_CANT_RANK = {
    "task_rate.no_relevant": "have no relevant candidate",
    "task_rate.all_tied": "have the same label on every candidate",
}


def as_json(run: Run, cliff: dict[str, Any] | None = None) -> str:
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
        "metrics": {name: asdict(estimate) for name, estimate in run.metrics.items()},
        "missing": [one.model_dump() for one in manifest.missing],
        "sessions": [session.model_dump() for session in manifest.sessions],
    }
    if cliff is not None:
        document["cliff"] = cliff
    return json.dumps(document, indent=1, allow_nan=False)


def print_run(run: Run, console: Console) -> None:
    """Parse validity, failures with an example each, ranking, and what it cost: side by side, not blended."""
    console.print(_headline(run))
    for title in dict.fromkeys(metric.group for metric in METRICS.values()):
        table = _failure_table(run) if title == FAILURES else _metric_table(run, title)
        if table is not None:
            console.print(table)
    for remark in _left_out(run):
        console.print(remark)
    console.print(_footer(run))


def _headline(run: Run) -> Text:
    manifest = run.manifest
    dataset = manifest.dataset.name + (f" ({manifest.dataset.split})" if manifest.dataset.split else "")
    engine = f"{manifest.engine.name} {manifest.engine.version}"
    return Text(
        f"{manifest.engine.checkpoint} on {dataset}: {manifest.tasks} tasks × "
        f"{manifest.samples_per_task}, {engine}"
    )


def _metric_table(run: Run, title: str) -> Table:
    of_stem: dict[str, list[str]] = {}
    for metric in METRICS.values():
        if metric.group == title and metric.name in run.metrics and metric.name not in _CANT_RANK:
            of_stem.setdefault(metric.name.partition(".")[0], []).append(metric.name)
    rows = {name: run.metrics[name] for name in chain.from_iterable(of_stem.values())}
    return metric_table(title, rows, lambda name: METRICS[name].is_rate)


def _failure_table(run: Run) -> Table | None:
    counts: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    for sample in run.iter_samples():
        code = sample.parse.code
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
        # ascii() keeps untrusted text from moving the cursor or colouring the terminal.
        shown = ascii(text[:_EXAMPLE_CHARACTERS]) + ("…" if len(text) > _EXAMPLE_CHARACTERS else "")
        table.add_row(name, str(count), Text(f"{shown}  {task_id}"))
    return table


def _left_out(run: Run) -> list[Text]:
    """What the numbers above aren't about or what isn't as it was asked for: that must be seen.

    Samples that couldn't be had; tasks that no ranking can be better or worse on, which are in no NDCG.
    """
    missing = run.manifest.missing
    remarks = [Text(plain(remark)) for remark in run.manifest.engine.options.get(REMARKS, ())]
    if missing:
        remarks.append(
            Text(
                f"{len(missing)} of {run.manifest.planned} samples couldn't be had and count nowhere above "
                f"(first: of task {plain(missing[0].task_id)}, {plain(missing[0].cause)})"
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
    rate = f", {tokens / seconds:.0f} tokens/s" if seconds > 0 and tokens else ""
    return Group(
        Text(
            f"{generated} samples, {prompt_tokens} prompt and {tokens} completion tokens; "
            f"loading {loading:.1f} s, generating {seconds:.1f} s{rate}"
        ),
        Text(f"run: {run.path}"),
    )
