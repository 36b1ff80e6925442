"""What is kept of each run, and how a sweep's results are read back and tabulated."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import DataError
from harness.files import write_text
from harness.settings import first_problem

RESULT = "result.json"
TABLE = "results.csv"


@dataclass(frozen=True, slots=True)
class SweepResult:
    """One trained and evaluated student, or one whose training broke down.

    Attributes:
        arm: which arm of the sweep.
        lam: λ.
        seed: of tasks, rollouts and minibatches.
        clip: clip strength c, None for no clip.
        learning_rate: peak.
        steps: optimizer steps asked for.
        staleness: `fixed` or `fresh`.
        diverged: training stopped because the loss was no number any more; there is no student then.
        tasks: evaluated tasks, 0 where there is no student.
        strict: share of them with strictly valid output, None where there is no student.
        parsed: number of outputs behind `ndcg_parsed`.
        ndcg_parsed: mean NDCG@1 of what parsed, None where nothing did.
        ndcg_all: mean NDCG@1 with failures as 0, None where there is no student.
        train_seconds: wall-clock time of training.
        evaluate_seconds: of the evaluation.
        started: when training began, ISO 8601, UTC.
        finished: when the result was written.
        weights_sha256: of the student, None where there is none.
        training_code: hash of the code that made it, `provenance.digest`.
    """

    arm: str
    lam: float
    seed: int
    clip: float | None
    learning_rate: float
    steps: int
    staleness: str
    diverged: bool
    tasks: int
    strict: float | None
    parsed: int
    ndcg_parsed: float | None
    ndcg_all: float | None
    train_seconds: float
    evaluate_seconds: float
    started: str
    finished: str
    weights_sha256: str | None
    training_code: str

    def collapsed(self, threshold: float) -> bool:
        """Whether strict validity lies below `threshold`, or training broke down."""
        return self.strict is None or self.strict < threshold

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), allow_nan=False)


_RESULT: TypeAdapter[SweepResult] = TypeAdapter(SweepResult)


def read_result(path: Path) -> SweepResult:
    """The result in a `result.json`.

    Raises:
        DataError: it is no such file.
    """
    try:
        return _RESULT.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} can't be read as a sweep result: {first_problem(error)}") from error


def read_results(folder: Path) -> list[SweepResult]:
    """All finished runs of a sweep, by arm, λ and seed, from its `runs` or, without, its `results.csv`.

    Raises:
        DataError: a result can't be read.
    """
    files = sorted((folder / "runs").rglob(RESULT))
    if not files and (folder / TABLE).exists():
        return read_table(folder / TABLE)
    return _in_order(read_result(path) for path in files)


def write_table(results: Sequence[SweepResult], path: Path) -> None:
    """All results as CSV, an empty cell for None; `read_table` gives them back exactly."""
    names = [field.name for field in fields(SweepResult)]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(result) for result in results)
    write_text(path, text.getvalue())


def read_table(path: Path) -> list[SweepResult]:
    """The results in a CSV file that `write_table` wrote.

    Raises:
        DataError: it is no such file; the message names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows: list[dict[str, Any]] = [
                {name: cell if cell != "" else None for name, cell in row.items()}
                for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read: {error}") from error
    results = []
    for number, row in enumerate(rows, start=2):
        try:
            results.append(_RESULT.validate_python(row))
        except ValidationError as error:
            raise DataError(f"{path}, line {number}: {first_problem(error)}") from error
    return _in_order(results)


def _in_order(results: Iterable[SweepResult]) -> list[SweepResult]:
    return sorted(results, key=lambda result: (result.arm, result.lam, result.seed))
