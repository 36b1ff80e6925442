"""What a report needs of a run, in one pass; texts are read later, for the samples that are shown."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from harness.cliff import CliffResult
from harness.cliff.placement import Placement, read_measured
from harness.contract import FAILURE_CODES
from harness.errors import DataError, HarnessError
from harness.judge import rubric_metrics, rubric_of
from harness.metrics.columns import Columns, IntArray
from harness.metrics.table import (
    FAILURES,
    RUBRIC_PREFIX,
    Labels,
    SampleMetric,
    can_rank,
    sample_metrics,
)
from harness.report.folders import Found, find_runs
from harness.runs import Run, Sample, open_run, stale_reasons
from harness.runs.columns import Asked, metrics_of_samples, read_asked, read_columns
from harness.runs.comparability import PROMPT
from harness.runs.directory import CLIFF, GATE, JUDGE_LOG, MANIFEST, SAMPLES, TASKS
from harness.runs.directory import METRICS as METRICS_FILE
from harness.runs.gate_record import GateRecord, GateResult
from harness.runs.hidden_tokens import HiddenTokens
from harness.runs.integrity import read_cliff, read_gate, require_given, require_sound
from harness.runs.source import Source
from harness.runs.staleness import baseline_unchecked

Place = tuple[str, int]
"""Task id and sample index: the same place in two runs of one dataset is a pair."""

UNKNOWN = -1
NO_CODE = -1
WITHHELD = "withheld"
"""Stands in place of a failure code where a provider withheld the answer."""
CODES = (*FAILURE_CODES, WITHHELD)
"""What an answer that isn't strict is listed under."""
_FILES = (MANIFEST, SAMPLES, TASKS, METRICS_FILE, GATE, CLIFF, JUDGE_LOG)
_Stored = TypeVar("_Stored")


def compared() -> dict[str, SampleMetric]:
    """Metrics of samples that are compared with the baseline; failures by code are counted instead."""
    metrics = sample_metrics().items()
    return {
        name: metric
        for name, metric in metrics
        if metric.group != FAILURES and not metric.rare and metric.compared
    }


def code_number(code: str | None) -> int:
    """Place in `CODES`, `NO_CODE` where there is no code."""
    return NO_CODE if code is None else CODES.index(code)


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """N samples of a run, by column, in the order in which they finished.

    Attributes:
        row: place → row.
        columns: values of all its metrics; without tasks, of those of `compared`.
        code: [N] index into `CODES`, `NO_CODE` where strict.
        tokens: [N] completion tokens, `UNKNOWN` where the engine didn't say.
        characters: [N] length of the text.
        best_rank: [N] rank that the sample gives the candidate with the highest label, from 1; 0 where it
            isn't strict or its task's labels can't rank.
    """

    row: dict[Place, int]
    columns: Columns
    code: IntArray
    tokens: IntArray
    characters: IntArray
    best_rank: IntArray

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.columns.n


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as a report sees it.

    Attributes:
        name: unique in the report.
        run: the stored run.
        samples: what they say.
        has_tasks: whether the evaluated rows lie in the run.
        candidates: numbers of candidates that occur, ascending.
        gate: its last verdict, None where it was never gated.
        stale: why that verdict no longer holds of the run, empty where it does.
        unchecked: what of that verdict can't be checked where the run lies, None where all can.
        looked: whether gates on the run may have left less than all of alpha for another look at it.
        cliff: its verdict on λ*, None where it wasn't measured.
        place: where it lies on the line of its teacher and base, None where it wasn't placed.
        hashes: file → SHA-256, of the files there are.
        folder: the folder named in its place, None where it was named itself.
        lam: λ that its place in that folder says, None where it says none.
        hidden: what of its failed answers their texts don't show, None where nothing.
    """

    name: str
    run: Run
    samples: SampleFacts
    has_tasks: bool
    candidates: tuple[int, ...]
    gate: GateRecord | None
    stale: tuple[str, ...]
    unchecked: str | None
    looked: bool
    cliff: CliffResult | None
    hashes: dict[str, str]
    folder: Path | None = None
    lam: float | None = None
    hidden: str | None = None
    place: Placement | None = None

    @property
    def stopped(self) -> bool:
        """Whether its own data decided when it ended, so that what holds at a fixed size doesn't hold."""
        return self.run.manifest.stopped is not None

    @property
    def dataset(self) -> str:
        """Hash of the dataset's file."""
        return self.run.manifest.dataset.sha256

    @property
    def constrained(self) -> bool:
        """Whether the engine's grammar held the answers to the schema."""
        return bool(self.run.manifest.sampling.get("constrained"))

    @property
    def rubrics(self) -> tuple[str, ...]:
        """Names of the rubrics that judged it."""
        names = (rubric_of(name) for name in self.run.metrics if name.startswith(RUBRIC_PREFIX))
        return tuple(dict.fromkeys(names))


def read_runs(paths: Sequence[Path]) -> list[RunFacts]:
    """Read every run; a folder that is none stands for the runs below it.

    Raises:
        DataError: one isn't a run, or a file of it can't be read.
        IncompleteError: one is still being written.
        HarnessError: one is named twice.
    """
    return [_read(found) for found in find_runs(paths)]


def find_baseline(runs: Sequence[RunFacts], named: str | None) -> RunFacts | None:
    """The run that the others are compared with: the one named, else the last; None for a single run.

    Raises:
        HarnessError: no run of that name.
    """
    if named is None:
        return runs[-1] if len(runs) > 1 else None
    wanted = Path(named).expanduser().resolve()
    for facts in runs:
        if facts.name == named or facts.run.path.expanduser().resolve() == wanted:
            return facts if len(runs) > 1 else None
    known = ", ".join(facts.name for facts in runs)
    raise HarnessError(f"no run is called {named!r}; `baseline=` is one of {known}")


def _read(found: Found) -> RunFacts:
    path = found.path
    run = open_run(path)
    now = require_sound(run)
    # A run of an older version may have been passed on without its tasks.
    has_tasks = run.manifest.sealed or (path / TASKS).exists()
    asked = list(read_asked(run)) if has_tasks else []
    labels = {one.task_id: one.relevance for one in asked}
    hidden = HiddenTokens(run.manifest)
    samples = _samples(run, asked, hidden)
    gate = _stored(path / GATE, read_gate, GateRecord.from_dict, "gate the run again")
    measured = _stored(path / CLIFF, read_cliff, read_measured, "measure it again")
    if labels:
        _require_given(run, samples.columns, measured)
    return RunFacts(
        name=found.name,
        run=run,
        samples=samples,
        has_tasks=has_tasks,
        candidates=tuple(sorted({len(one) for one in labels.values() if one})),
        gate=gate,
        stale=() if gate is None else stale_reasons(run, gate, now),
        unchecked=None if gate is None else baseline_unchecked(run, gate),
        looked=gate is not None and _looked(gate.result, now),
        cliff=measured if isinstance(measured, CliffResult) else None,
        hashes={file: _sha256(path / file) for file in _FILES if (path / file).exists()},
        folder=found.folder,
        lam=found.lam,
        hidden=hidden.remark(),
        place=None if measured is None else _place(measured),
    )


def _place(measured: CliffResult | Placement) -> Placement | None:
    if isinstance(measured, Placement):
        return measured
    reached, off, along = measured.lambda_reached, measured.off_the_line, measured.along_the_line
    if reached is None or off is None or along is None:
        return None
    return Placement(measured.lam, None, reached, off, along, measured.reached, measured.reached_by_role)


def _looked(result: GateResult, now: Source) -> bool:
    """Whether a further look isn't just that at the very same samples which had all of alpha."""
    if not result.looks:
        return False
    again = ("fixed", now.drawn_sha256, 1.0)
    taken = {(look.kind, look.drawn_sha256, look.share) for look in result.looks}
    return result.stream is not None or taken != {again}


def _samples(run: Run, asked: Sequence[Asked], hidden: HiddenTokens) -> SampleFacts:
    best = {one.task_id: _best(one.relevance) for one in asked}

    def best_rank(sample: Sample) -> int:
        wanted = best.get(sample.task_id, frozenset())
        parse = sample.parse
        return _rank(parse.ranking, wanted) if parse is not None and parse.tier == "strict" else 0

    counted: dict[str, Callable[[Sample], int]] = {
        "code": lambda sample: code_number(WITHHELD if sample.parse is None else sample.parse.code),
        "tokens": lambda sample: UNKNOWN if sample.completion_tokens is None else sample.completion_tokens,
        "characters": lambda sample: len(sample.text),
        "best_rank": best_rank,
    }
    also = {**counted, **PROMPT, "hidden": hidden.measured}
    columns = read_columns(run, None if asked else compared(), asked, also)
    places = zip(columns.task.tolist(), columns.index.tolist(), strict=True)
    return SampleFacts(
        {(columns.task_ids[task], index): row for row, (task, index) in enumerate(places)},
        columns,
        **{name: columns.values[name].astype(np.int64) for name in counted},
    )


def _best(relevance: Labels) -> frozenset[int]:
    """Numbers of the candidates with the highest label; empty where labels can't rank."""
    if not can_rank(relevance):
        return frozenset()
    highest = max(relevance)
    return frozenset(number for number, label in enumerate(relevance, 1) if label == highest)


def _rank(ranking: Sequence[int] | None, wanted: frozenset[int]) -> int:
    return next((rank for rank, number in enumerate(ranking or (), 1) if number in wanted), 0)


def _require_given(run: Run, columns: Columns, measured: CliffResult | Placement | None) -> None:
    """Refuse stored numbers that the files beside them don't give."""
    if not run.metrics:
        return
    found = metrics_of_samples(run, columns)
    if run.source is not None:
        found |= rubric_metrics(run) | ({} if measured is None else dict(measured.metrics()))
    require_given(run, found, run.metrics.keys() | found.keys() if run.source is not None else found)


def _stored(
    path: Path, read: Callable[[Path], Any], made: Callable[[Any], _Stored], remedy: str
) -> _Stored | None:
    try:
        return made(read(path.parent))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, ValidationError, DataError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} can't be read ({reason}); {remedy}, or remove the file") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
