"""What a report needs of a run, in one pass; texts are read later, for the samples that are shown."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from harness.cliff import CliffResult
from harness.contract import FAILURE_CODES, TIERS
from harness.errors import DataError, HarnessError
from harness.gate import GateResult, open_run
from harness.gate.loading import CLIFF
from harness.gate.measures import MEASURES
from harness.gate.record import GATE
from harness.gate.tables import is_informative, read_task_rows
from harness.judge.records import JUDGE_LOG
from harness.report.text import one_line
from harness.runs import Run
from harness.runs.directory import MANIFEST, METRICS, SAMPLES, TASKS

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Place = tuple[str, int]
"""Task id and sample index: the same place in two runs of one dataset is a pair."""

COMPARED = (
    "parse_validity.strict",
    "parse_validity.lenient",
    "parse_validity.repaired",
    "truncation_rate",
    "ndcg_at_1.parsed",
    "ndcg_at_1.all",
    "ndcg_at_k.parsed",
    "ndcg_at_k.all",
)
"""Metrics of samples that are compared with the baseline."""

NO_CODE = -1
UNKNOWN = -1
STRICT = TIERS.index("strict")
_FILES = (MANIFEST, SAMPLES, TASKS, METRICS, GATE, CLIFF, JUDGE_LOG)
_CODE = {code: number for number, code in enumerate(FAILURE_CODES)}
_TIER = {tier: number for number, tier in enumerate(TIERS)}
_Stored = TypeVar("_Stored")


@dataclass(frozen=True, slots=True)
class Columns:
    """N samples of a run, by column, in the order in which they finished.

    Attributes:
        row: place → row.
        tier: [N] index into `TIERS`.
        code: [N] index into `FAILURE_CODES`, `NO_CODE` where strict.
        tokens: [N] completion tokens, `UNKNOWN` where the engine didn't say.
        characters: [N] length of the text.
        best_rank: [N] rank that the sample gives the candidate with the highest label, from 1; 0 where it
            isn't strict or its task's labels can't rank.
        values: metric of `COMPARED` → [N] value, NaN where the sample doesn't count.
    """

    row: dict[Place, int]
    tier: IntArray
    code: IntArray
    tokens: IntArray
    characters: IntArray
    best_rank: IntArray
    values: dict[str, FloatArray]

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.tier)


@dataclass(frozen=True, slots=True)
class GateRecord:
    """`gate.json`: the last verdict on a run.

    Attributes:
        result: the verdict.
        decided: when.
        policy: what it was judged by.
    """

    result: GateResult
    decided: str
    policy: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as a report sees it.

    Attributes:
        name: unique in the report.
        run: the stored run.
        columns: its samples.
        has_tasks: whether the evaluated rows lie in the run.
        candidates: numbers of candidates that occur, ascending.
        gate: its last verdict, None where it was never gated.
        cliff: its verdict on λ*, None where it wasn't measured.
        hashes: file → SHA-256, of the files there are.
    """

    name: str
    run: Run
    columns: Columns
    has_tasks: bool
    candidates: tuple[int, ...]
    gate: GateRecord | None
    cliff: CliffResult | None
    hashes: dict[str, str]

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
        names = (name.split(".")[1] for name in self.run.metrics if name.startswith("rubric."))
        return tuple(dict.fromkeys(names))


def read_runs(paths: Sequence[Path]) -> list[RunFacts]:
    """Read every run.

    Raises:
        DataError: one isn't a run, or a file of it can't be read.
        IncompleteError: one is still being written.
        HarnessError: one is named twice.
    """
    resolved = [path.expanduser().resolve() for path in paths]
    for path in resolved:
        if resolved.count(path) > 1:
            raise HarnessError(f"{path} is named twice; a run can't be compared with itself")
    return [_read(path, name) for path, name in zip(paths, _names(resolved), strict=True)]


def find_baseline(runs: Sequence[RunFacts], named: str | None) -> RunFacts | None:
    """The run that the others are compared with; None for a single run.

    Raises:
        HarnessError: no run of that name.
    """
    if named is None:
        return runs[0] if len(runs) > 1 else None
    wanted = Path(named).expanduser().resolve()
    for facts in runs:
        if facts.name == named or facts.run.path.expanduser().resolve() == wanted:
            return facts if len(runs) > 1 else None
    known = ", ".join(facts.name for facts in runs)
    raise HarnessError(f"no run is called {named!r}; `baseline=` is one of {known}")


def _names(paths: Sequence[Path]) -> list[str]:
    """Folder names, with as many parents as tell them apart."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return [one_line(name) for name in names]


def _read(path: Path, name: str) -> RunFacts:
    run = open_run(path)
    has_tasks = (path / TASKS).exists()
    labels = {task["task_id"]: task["relevance"] for task in read_task_rows(path)} if has_tasks else {}
    return RunFacts(
        name=name,
        run=run,
        columns=_columns(run, labels),
        has_tasks=has_tasks,
        candidates=tuple(sorted({len(one) for one in labels.values()})),
        gate=_gate(path / GATE),
        cliff=_stored(path / CLIFF, CliffResult.from_dict, "measure it again with `harness cliff`"),
        hashes={file: _sha256(path / file) for file in _FILES if (path / file).exists()},
    )


def _columns(run: Run, labels: dict[str, list[float]]) -> Columns:
    best = {task_id: _best(relevance) for task_id, relevance in labels.items()}
    row: dict[Place, int] = {}
    # Typed arrays keep a million samples at some tens of megabytes.
    tier, code, tokens, characters, ranks = (array("l") for _ in range(5))
    measures = {name: (MEASURES[name], array("d")) for name in COMPARED}
    for sample in run.iter_samples():
        place = (sample.task_id, sample.sample_index)
        if place in row or (labels and sample.task_id not in labels):
            raise DataError(
                f"{run.path}: sample {sample.key!r} of task {sample.task_id!r} is there twice or its task is "
                "not in tasks.jsonl; the run's files don't belong together"
            )
        row[place] = len(row)
        tier.append(_TIER[sample.parse.tier])
        code.append(NO_CODE if sample.parse.code is None else _CODE[sample.parse.code])
        tokens.append(UNKNOWN if sample.completion_tokens is None else sample.completion_tokens)
        characters.append(len(sample.text))
        informative = best.get(sample.task_id, frozenset())
        ranks.append(_rank(sample.parse.ranking, informative) if sample.parse.tier == "strict" else 0)
        for measure, values in measures.values():
            value = None if measure.informative_only and labels and not informative else measure.value(sample)
            values.append(np.nan if value is None else value)
    return Columns(
        row,
        np.array(tier, dtype=np.int64),
        np.array(code, dtype=np.int64),
        np.array(tokens, dtype=np.int64),
        np.array(characters, dtype=np.int64),
        np.array(ranks, dtype=np.int64),
        {name: np.array(values, dtype=np.float64) for name, (_, values) in measures.items()},
    )


def _best(relevance: Sequence[float]) -> frozenset[int]:
    """Numbers of the candidates with the highest label; empty where labels can't rank."""
    if not is_informative(relevance):
        return frozenset()
    highest = max(relevance)
    return frozenset(number for number, label in enumerate(relevance, 1) if label == highest)


def _rank(ranking: Sequence[int] | None, wanted: frozenset[int]) -> int:
    return next((rank for rank, number in enumerate(ranking or (), 1) if number in wanted), 0)


_RESULT: TypeAdapter[GateResult] = TypeAdapter(GateResult)


def _gate(path: Path) -> GateRecord | None:
    def made(data: Any) -> GateRecord:
        return GateRecord(_RESULT.validate_python(data), str(data["decided"]), dict(data["policy"]))

    return _stored(path, made, "gate the run again")


def _stored(path: Path, made: Callable[[Any], _Stored], remedy: str) -> _Stored | None:
    try:
        return made(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, ValidationError, DataError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} can't be read ({reason}); {remedy}, or remove the file") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
