"""From the lines of a task file to tasks, or to everything that is wrong with each line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.contract import Contract, judge
from harness.contract.model import ROW
from harness.data.opening import GZIP_MAGIC, MAX_LINE_BYTES, UTF8_BOM, Source, open_source, read_lines
from harness.data.tasks import PromptTask, RankingTask, Task, kind_of, terms_of
from harness.errors import DataError

PROBLEMS_PER_ROW = 20
"""A row is no better for a longer list, and a hostile one would fill the memory with it."""
SHOWN_CHARACTERS = 120
_OF_ITS_ROW = Contract(kind="schema", schema_=ROW)
MOST_COUNTED = 1_000_000
"""Lines after which nobody waits for a count."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """One thing wrong with one row; a row with several gives several.

    Attributes:
        line: line number in the file, from 1.
        field: path such as `candidates[2].title`; empty when the whole row is meant.
        message: what is wrong.
    """

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        """One line for a message."""
        return f"line {self.line}{' ' + self.field if self.field else ''}: {self.message}"


def read_rows(path: Path) -> Iterator[Task | tuple[BadRow, ...]]:
    """Yield, for each row that isn't blank, its task or everything wrong with it.

    Only the task ids are kept, to find duplicates.

    Raises:
        DataError: the file as a whole can't be read as JSON lines.
    """
    first_lines: dict[str, int] = {}
    with open_source(path) as source:
        _refuse_wrong_form(source)
        for line, raw in read_lines(source):
            row = _read_row(line, raw)
            if isinstance(row, RankingTask | PromptTask):
                first = first_lines.setdefault(row.task_id, line)
                if first != line:
                    row = (BadRow(line, "task_id", f"{_shown(row.task_id)} is also that of line {first}"),)
            yield row


def count_rows(path: Path, most: int = MOST_COUNTED) -> int | None:
    """How many rows of a task file aren't blank, good or bad; None where there are more lines than `most`.

    Raises:
        DataError: the file can't be read.
    """
    rows = 0
    with open_source(path) as source:
        for line, _ in read_lines(source):
            if line > most:
                return None
            rows += 1
    return rows


def _refuse_wrong_form(source: Source) -> None:
    start = source.stream.read(1024)
    source.stream.seek(0)
    if not start:
        raise DataError(f"{source.path}: the file is empty")
    if start.removeprefix(UTF8_BOM).lstrip().startswith(b"["):
        raise DataError(f"{source.path}: is a JSON array; write one JSON object a line instead")
    if start.startswith(GZIP_MAGIC):
        raise DataError(f"{source.path}: is compressed twice; decompress it once")


def _read_row(line: int, raw: bytes | None) -> Task | tuple[BadRow, ...]:
    if raw is None:
        return (BadRow(line, "", f"longer than {MAX_LINE_BYTES // 2**20} MiB"),)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return (BadRow(line, "", f"not UTF-8 (byte {error.start + 1} of the line)"),)
    row, twice = _decoded(text)
    try:
        task = kind_of(row).model_validate_json(text, strict=True)
    except ValidationError as error:
        # include_input=False: a message must not carry a whole row.
        problems = error.errors(include_url=False, include_input=False)
        told = [problem for problem in problems if not _follows(dict(problem), problems)]
        return tuple(_bad_row(line, dict(problem)) for problem in told[:PROBLEMS_PER_ROW])
    return _problems_pydantic_lets_pass(line, row, twice) or _of_its_schema(line, task) or task


def _of_its_schema(line: int, task: Task) -> tuple[BadRow, ...]:
    """What is wrong with a row's own schema, or with the right answer by it."""
    if not isinstance(task, PromptTask) or task.schema_ is None:
        return ()
    try:
        terms = terms_of(task, _OF_ITS_ROW)
    except DataError as error:
        return (BadRow(line, "schema", str(error).removeprefix(f"task {task.task_id}: `schema` ")),)
    if not task.has_expected:
        return ()
    judged = judge(json.dumps(task.expected, ensure_ascii=False), terms)
    if judged.tier == "strict":
        return ()
    return (BadRow(line, "expected", f"breaks the row's own schema at {judged.path}: {judged.message}"),)


def _follows(problem: dict[str, Any], problems: Sequence[Any]) -> bool:
    """Whether a list is only too short because pydantic dropped its bad members before it counted."""
    here = problem["loc"]
    return problem["type"] == "too_short" and any(
        len(other["loc"]) > len(here) and other["loc"][: len(here)] == here for other in problems
    )


def _bad_row(line: int, problem: dict[str, Any]) -> BadRow:
    context = problem.get("ctx", {})
    field = context.get("field") or _field_path(problem["loc"])
    kind, message = problem["type"], problem["msg"]
    if field.startswith("schema.") or field == "schema":
        # Pydantic names every kind that it tried.
        field, message = "schema", "must be a JSON Schema: an object, true or false"
    elif kind == "json_invalid":
        # The parser sees one line and calls it line 1.
        message = "not JSON: " + context["error"].replace("at line 1 column", "at column")
    elif kind == "model_type":
        message = "not a JSON object"
    elif kind == "missing":
        message = "missing"
    elif kind == "extra_forbidden":
        message = "unknown field"
    elif kind == "string_pattern_mismatch":
        message = "holds no visible character"
    elif kind == "too_short":
        message = f"has {context['actual_length']}; at least {context['min_length']} are needed"
    elif kind == "too_long" and "actual_length" in context:
        message = f"has {context['actual_length']}; at most {context['max_length']} are possible"
    elif kind == "literal_error":
        message = f"must be {context['expected']}"
    elif kind == "string_type":
        message = "must be a string in quotes"
    return BadRow(line, field, message)


def _field_path(location: tuple[str | int, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part if part.isidentifier() and len(part) <= SHOWN_CHARACTERS else _shown(part)
            path += f".{name}" if path else name
    return path


def _shown(text: str) -> str:
    cut = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
    return json.dumps(cut, ensure_ascii=False)


def _decoded(text: str) -> tuple[Any, list[str]]:
    """The row, or an error where it is no JSON; and the keys that are given twice anywhere in it."""
    twice: list[str] = []

    def note_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) != len(pairs):
            keys = [key for key, _ in pairs]
            twice.extend(key for key in row if keys.count(key) > 1)
        return row

    try:
        return json.loads(text, object_pairs_hook=note_twice), twice
    except (ValueError, RecursionError) as error:
        return error, twice


def _problems_pydantic_lets_pass(line: int, row: Any, twice: Sequence[str]) -> tuple[BadRow, ...]:
    """What pydantic lets pass: a key given twice (the last would win) and NaN in what holds any JSON."""
    if isinstance(row, Exception):
        return (BadRow(line, "", f"not JSON: {row}"),)
    problems = [BadRow(line, _shown(key), "the key is given twice") for key in twice]
    problems += [
        BadRow(line, field, "holds a number that isn't finite")
        for field in ("meta", "schema", "expected")
        if not _is_finite(row.get(field))
    ]
    return tuple(problems[:PROBLEMS_PER_ROW])


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_is_finite(part) for part in value.values())
    if isinstance(value, list):
        return all(_is_finite(part) for part in value)
    return True
