"""Loading the tasks of a bundled dataset, a folder of splits or a file."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data.locate import SPLIT_SUFFIXES, known_datasets, splits_in
from harness.data.prompt import changed_titles
from harness.data.rows import BadRow, count_rows, read_rows
from harness.data.tasks import PromptTask, RankingTask, Task
from harness.errors import DataError

SHOWN_BAD_ROWS = 20
DEFAULT_SPLIT = "test"


class BadRowsError(DataError):
    """Rows that can't be used; `bad_rows` holds all of them, the message the first few."""

    def __init__(self, message: str, bad_rows: tuple[BadRow, ...]) -> None:
        """Keep the rows beside the message."""
        super().__init__(message)
        self.bad_rows = bad_rows


@dataclass(frozen=True, slots=True)
class TaskFile:
    """The file that a dataset argument means.

    Attributes:
        path: the `.jsonl` or `.jsonl.gz` file.
        name: name of a bundled dataset, else the folder's or file's name.
        split: None for a file named by its path.
    """

    path: Path
    name: str
    split: str | None


@dataclass(frozen=True, slots=True)
class LoadedDataset:
    """The tasks of one file and where they came from.

    Attributes:
        tasks: in file order.
        name: name of a bundled dataset, else the folder's or file's name.
        split: None for a file named by its path.
        path: the file that was read.
        sha256: of the file's bytes as they lie on disk.
        rows_read: rows looked at, bad ones included; with a limit, those after the last task aren't.
        rows: all rows of the file, those after the limit included; None where there are too many to count.
        rows_skipped: bad rows passed over.
        bad_rows: what was wrong with them.
    """

    tasks: tuple[Task, ...]
    name: str
    split: str | None
    path: Path
    sha256: str
    rows_read: int
    rows: int | None
    rows_skipped: int
    bad_rows: tuple[BadRow, ...]


def load_tasks(
    path_or_name: str | Path,
    split: str | None = None,
    *,
    limit: int | None = None,
    skip_bad_rows: bool = False,
) -> LoadedDataset:
    """Load the tasks of a bundled dataset, a folder of splits, or a `.jsonl` / `.jsonl.gz` file.

    Args:
        path_or_name: see `find_task_file`.
        split: see `find_task_file`.
        limit: stop after that many tasks, ≥ 1; bad rows further on are then never seen.
        skip_bad_rows: go on without the bad rows instead of refusing all.

    Raises:
        BadRowsError: some rows are bad and `skip_bad_rows` is false; all of them were looked at.
        DataError: unknown name or split, a file that is no JSON-lines file, no task left, or a limit < 1.
    """
    if limit is not None and limit < 1:
        raise DataError(f"the limit is {limit}; ask for at least 1 task")
    file = find_task_file(path_or_name, split)
    tasks: list[Task] = []
    bad_rows: list[BadRow] = []
    rows_skipped = 0
    for row in read_rows(file.path):
        if isinstance(row, RankingTask | PromptTask):
            tasks.append(row)
            if len(tasks) == limit:
                break
        else:
            rows_skipped += 1
            bad_rows.extend(row)
    if bad_rows and not skip_bad_rows:
        raise _bad_rows_error(file.path, rows_skipped, bad_rows)
    if not tasks:
        why = f"all {rows_skipped} rows are bad, first {bad_rows[0]}" if bad_rows else "it is blank"
        raise DataError(f"{file.path}: no task in it: {why}")
    with file.path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    rows_read = len(tasks) + rows_skipped
    return LoadedDataset(
        tasks=tuple(tasks),
        name=file.name,
        split=file.split,
        path=file.path,
        sha256=sha256,
        rows_read=rows_read,
        rows=count_rows(file.path) if len(tasks) == limit else rows_read,
        rows_skipped=rows_skipped,
        bad_rows=tuple(bad_rows),
    )


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What checking every row of a file found.

    Attributes:
        path: the file.
        rows_read: rows that aren't blank.
        rows_bad: how many of them are bad.
        bad_rows: everything that is wrong with those.
        titles: of the good rows, titles that don't reach every model as they are, see `changed_titles`.
    """

    path: Path
    rows_read: int
    rows_bad: int
    bad_rows: tuple[BadRow, ...]
    titles: dict[str, int]

    def refuse(self) -> None:
        """Raise unless there are rows and all are good.

        Raises:
            BadRowsError: some are bad.
            DataError: there is none.
        """
        if self.bad_rows:
            raise BadRowsError(
                f"{self.path}: {self.rows_bad:,} of {self.rows_read:,} rows are bad; correct them",
                self.bad_rows,
            )
        if not self.rows_read:
            raise DataError(f"{self.path}: no task in it: it is blank")


def check_tasks(path_or_name: str | Path, split: str | None = None) -> CheckedFile:
    """Check every row of a file without keeping the tasks.

    Raises:
        DataError: no such file, or not JSON lines; bad rows don't raise, see `CheckedFile.refuse`.
    """
    file = find_task_file(path_or_name, split)
    rows_read = rows_bad = 0
    bad_rows: list[BadRow] = []
    titles: Counter[str] = Counter()
    for row in read_rows(file.path):
        rows_read += 1
        if isinstance(row, RankingTask | PromptTask):
            titles.update(changed_titles([row], guarded=True))
        else:
            rows_bad += 1
            bad_rows.extend(row)
    return CheckedFile(file.path, rows_read, rows_bad, tuple(bad_rows), dict(titles))


def find_task_file(path_or_name: str | Path, split: str | None = None) -> TaskFile:
    """Find the file that a dataset argument means.

    Args:
        path_or_name: a bundled dataset's name, which wins over a folder of that name (`./name` means the
            folder); a folder with `<split>.jsonl` or `<split>.jsonl.gz`; or such a file.
        split: one of the splits of a dataset or folder; by default `test`, or the only one there is.

    Raises:
        DataError: nothing of that name, or no such split; the message lists what there is.
    """
    is_name = isinstance(path_or_name, str) and not _looks_like_path(path_or_name)
    if is_name and (dataset := known_datasets().get(str(path_or_name))):
        return _split_file(dataset.path, dataset.name, dataset.splits, split)
    path = Path(path_or_name).expanduser()
    if path.is_dir():
        return _split_file(path, path.resolve().name, splits_in(path), split)
    if path.exists():
        stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
        if split not in (None, stem):
            raise DataError(f"{path}: a file has no splits; leave out the split {split!r} or name its folder")
        return TaskFile(path, path.name, None)
    if not is_name:
        raise DataError(f"{path}: no such file or folder; check the path")
    raise DataError(_unknown_name_message(str(path_or_name), sorted(known_datasets())))


def _looks_like_path(text: str) -> bool:
    return "/" in text or os.sep in text or text.endswith(SPLIT_SUFFIXES)


def _unknown_name_message(name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=3)
    guess = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    return f"unknown dataset {name!r}: {guess}known: {', '.join(known)}; or give a path to a .jsonl file"


def _split_file(folder: Path, name: str, splits: tuple[str, ...], split: str | None) -> TaskFile:
    if not splits:
        raise DataError(f"{folder}: no .jsonl or .jsonl.gz file in this folder; name one that has them")
    if split is None and len(splits) == 1:
        split = splits[0]
    chosen = DEFAULT_SPLIT if split is None else split
    if chosen not in splits:
        raise DataError(f"{name}: no split {chosen!r}; choose one of {', '.join(splits)}")
    files = [folder / f"{chosen}{suffix}" for suffix in SPLIT_SUFFIXES]
    there = [file for file in files if file.is_file()]
    if len(there) > 1:
        raise DataError(f"{folder}: holds {there[0].name} and {there[1].name}; remove one, or name a file")
    return TaskFile(there[0], name, chosen)


def _bad_rows_error(path: Path, rows: int, bad_rows: Sequence[BadRow]) -> BadRowsError:
    shown = "; ".join(str(bad_row) for bad_row in bad_rows[:SHOWN_BAD_ROWS])
    more = f"; and {len(bad_rows) - SHOWN_BAD_ROWS} more" if len(bad_rows) > SHOWN_BAD_ROWS else ""
    return BadRowsError(
        f"{path}: {rows} bad row{'s' if rows > 1 else ''}, nothing was run: {shown}{more}. "
        "Correct them or pass `skip_bad_rows=True`",
        tuple(bad_rows),
    )
