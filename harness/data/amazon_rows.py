"""Rows of the official Amazon Reviews files (2018 and 2023) in every form they are passed around in.

JSON lines, one JSON array, Python-literal lines (2018 metadata), or csv with a header; plain or gzip. What
can't be used comes out as the reason why, never as an exception, so that it can be counted.
"""

from __future__ import annotations

import ast
import csv
import html
import io
import json
import math
import re
import warnings
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from harness.data.opening import (
    MAX_IDLE_LINES,
    MAX_LINE_BYTES,
    UTF8_BOM,
    Source,
    idle,
    open_source,
    read_lines,
)
from harness.errors import DataError

MAX_LITERAL_BYTES = 1024 * 1024
"""Longest Python-literal line that is parsed: its syntax tree takes a hundred times its size."""
MAX_TITLE_CHARACTERS = 300
CHUNK_BYTES = 1024 * 1024

USER_KEYS = ("user_id", "reviewerID")
ITEM_KEYS = ("parent_asin", "asin", "item_id")
RATING_KEYS = ("rating", "overall")
TIME_KEYS = ("timestamp", "unixReviewTime", "sort_timestamp")
DATE_KEY = "reviewTime"

# Titles of the 2018 metadata that are a scrap of the page: script, style or tags.
_PAGE_SCRAP = re.compile(
    r"getTime\(|function\s*\(|\bvar \w+\s*=|document\.|window\.|P\.when\("
    r"|</?[a-zA-Z][^<>]*>|\{[^{}]*:[^{}]*;"
)
# Of the elements of an array: its opening bracket and the commas.
_SEPARATORS = re.compile(r"[\s,\[]*")
_US_DATE = re.compile(r"(\d{1,2}) (\d{1,2}), (\d{4})")


@dataclass(frozen=True, slots=True)
class Interaction:
    """One review.

    Attributes:
        user: id of the user, verbatim.
        item: id of the item, the parent's where the file has one.
        time: milliseconds since 1970, UTC; None where the row has none.
        rating: 1…5; None where the row has none that is.
        fingerprint: equal for exact duplicates of a row, 64 bits.
    """

    user: str
    item: str
    time: int | None
    rating: float | None
    fingerprint: int


@dataclass(frozen=True, slots=True)
class Titled:
    """One row of the metadata that has a usable title.

    Attributes:
        item: id of the item.
        title: one line, at most `MAX_TITLE_CHARACTERS` long.
        cut: whether it was longer.
    """

    item: str
    title: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that can't be used, and why."""

    reason: str


_Row = TypeVar("_Row", Interaction, Titled)

Progress = Callable[[str, int, int], None]
"""Told (what is being done and its unit, units done, units in all)."""


def read_interactions(path: Path, progress: Progress | None = None) -> Iterator[Interaction | Dropped]:
    """Stream a reviews file.

    Raises:
        DataError: the file as a whole can't be read.
    """
    rows = _read_objects(path, "reading reviews, bytes", progress)
    read = (row if isinstance(row, Dropped) else _interaction(row, fingerprint) for row, fingerprint in rows)
    yield from _while_useful(path, read)


def read_titles(path: Path, progress: Progress | None = None) -> Iterator[Titled | Dropped]:
    """Stream a metadata file.

    Raises:
        DataError: the file as a whole can't be read.
    """
    rows = _read_objects(path, "reading metadata, bytes", progress)
    yield from _while_useful(path, (row if isinstance(row, Dropped) else _titled(row) for row, _ in rows))


def _while_useful(path: Path, rows: Iterator[_Row | Dropped]) -> Iterator[_Row | Dropped]:
    """The rows, as long as now and then one can be used."""
    idling = 0
    for row in rows:
        idling = idling + 1 if isinstance(row, Dropped) else 0
        if isinstance(row, Dropped) and idling > MAX_IDLE_LINES:
            raise idle(path, f"rows that can't be used (the last: {row.reason})")
        yield row


def _interaction(row: dict[str, Any], fingerprint: int) -> Interaction | Dropped:
    user = _text_id(row, USER_KEYS)
    if user is None:
        return Dropped("no user id")
    item = _text_id(row, ITEM_KEYS)
    if item is None:
        return Dropped("no item id")
    rating = _number(_first(row, RATING_KEYS))
    return Interaction(
        user, item, _time(row), rating if rating is not None and 1 <= rating <= 5 else None, fingerprint
    )


def _titled(row: dict[str, Any]) -> Titled | Dropped:
    item = _text_id(row, ITEM_KEYS)
    if item is None:
        return Dropped("no item id")
    title = row.get("title")
    if not isinstance(title, str):
        return Dropped("no title")
    if _PAGE_SCRAP.search(title):
        return Dropped("title is a scrap of the page")
    # Entities: the 2018 titles read "Women&#39;s". Lone surrogates can't be written as UTF-8.
    line = " ".join(html.unescape(title).encode("utf-8", "replace").decode("utf-8").split())
    if not any(character.isalnum() for character in line):
        return Dropped("no title")
    if len(line) <= MAX_TITLE_CHARACTERS:
        return Titled(item, line, cut=False)
    return Titled(item, line[: MAX_TITLE_CHARACTERS - 1].rstrip() + "…", cut=True)


def _first(row: dict[str, Any], keys: tuple[str, ...]) -> object:
    return next((row[key] for key in keys if row.get(key) not in (None, "")), None)


def _text_id(row: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    # A number is no id: its leading zeros are lost, it would name another item.
    value = _first(row, keys)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        return None
    return value.strip()


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _time(row: dict[str, Any]) -> int | None:
    number = _number(_first(row, TIME_KEYS))
    if number is not None:
        # Seconds (2018) reach 10**11 in the year 5138; milliseconds (2023) passed it in 1973.
        milliseconds = number if number >= 1e11 else number * 1000
        return int(milliseconds) if 0 < milliseconds < 1e14 else None
    date = row.get(DATE_KEY)
    found = _US_DATE.fullmatch(date.strip()) if isinstance(date, str) else None
    if not found:
        return None
    month, day, year = map(int, found.groups())
    try:
        return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _read_objects(
    path: Path, what: str, progress: Progress | None
) -> Iterator[tuple[dict[str, Any] | Dropped, int]]:
    with open_source(path) as source:
        for count, row in enumerate(_rows_by_form(source)):
            if progress and count % 1000 == 0:
                progress(what, source.position(), source.size)
            yield row
        if progress:
            progress(what, source.size, source.size)


def _rows_by_form(source: Source) -> Iterator[tuple[dict[str, Any] | Dropped, int]]:
    start = source.stream.read(64 * 1024)
    source.stream.seek(0)
    if not start:
        raise DataError(f"{source.path}: the file is empty")
    text = start.removeprefix(UTF8_BOM).lstrip()
    if text.startswith(b"["):
        return _rows_of_array(source)
    if text.startswith(b"{"):
        return _rows_of_lines(source)
    header = text.split(b"\n", 1)[0].decode("utf-8", "replace").strip().split(",")
    if set(header).intersection(ITEM_KEYS):
        return _rows_of_csv(source)
    raise DataError(
        f"{source.path}: neither JSON lines, nor a JSON array, nor csv with a header that names "
        "user_id, an item id, rating and timestamp; give an official Amazon Reviews file"
    )


def _rows_of_lines(source: Source) -> Iterator[tuple[dict[str, Any] | Dropped, int]]:
    for _, line in read_lines(source):
        if line is None:
            yield Dropped("line too long"), 0
        else:
            yield _parse_line(line.strip().removeprefix(UTF8_BOM)), _fingerprint(line.strip())


def _parse_line(line: bytes) -> dict[str, Any] | Dropped:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return Dropped("not UTF-8")
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        row = _parse_literal(text) if text.startswith("{") and len(line) <= MAX_LITERAL_BYTES else None
        if row is None:
            return Dropped("not JSON")
    return row if isinstance(row, dict) else Dropped("not a JSON object")


def _parse_literal(text: str) -> object:
    try:
        with warnings.catch_warnings():
            # "\\d" in a description is an odd escape, not a reason to print anything.
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _rows_of_csv(source: Source) -> Iterator[tuple[dict[str, Any] | Dropped, int]]:
    lines = io.TextIOWrapper(source.stream, encoding="utf-8-sig", newline="")
    reader = csv.DictReader(lines)
    try:
        for row in reader:
            if None in row or None in row.values():
                yield Dropped("wrong number of columns"), 0
            else:
                yield row, _fingerprint("\0".join(row.values()).encode())
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{source.path}: csv line {reader.line_num + 1} can't be read: {error}") from error
    finally:
        # The wrapper must not close the stream: its owner does.
        lines.detach()


def _rows_of_array(source: Source) -> Iterator[tuple[dict[str, Any] | Dropped, int]]:
    """Elements of one JSON array; holds one element and one chunk, whatever the length of the array."""
    scan = json.JSONDecoder().raw_decode
    decode = getincrementaldecoder("utf-8-sig")().decode
    text, at, at_end = "", 0, False
    while True:
        at = _SEPARATORS.match(text, at).end()  # type: ignore[union-attr]  # it also matches nothing
        if text.startswith("]", at):
            return
        try:
            element, end = scan(text, at)
        except (ValueError, RecursionError):
            end = len(text)
        if end < len(text):
            fingerprint = _fingerprint(text[at:end].encode("utf-8", "replace"))
            yield element if isinstance(element, dict) else Dropped("not a JSON object"), fingerprint
            at = end
            continue
        # Not a whole element yet, or one that may go on: a number is only whole when something follows it.
        if at_end or len(text) - at > MAX_LINE_BYTES:
            raise DataError(f"{source.path}: the JSON array is cut off or damaged; fetch the file again")
        chunk = source.stream.read(CHUNK_BYTES)
        at_end = not chunk
        try:
            text, at = text[at:] + decode(chunk, at_end), 0
        except UnicodeDecodeError as error:
            raise DataError(f"{source.path}: is not UTF-8 ({error.reason}); save it as UTF-8") from error


def _fingerprint(row: bytes) -> int:
    return int.from_bytes(blake2b(row, digest_size=8).digest(), signed=True)
