"""Files of retrieval experiments: TREC runs and qrels, queries, and corpora as JSON lines.

As trec_eval and ir_measures read them: columns are apart by white space, a run has six (query, Q0, document,
rank, score, tag) and qrels have four (query, iteration, document, label). BEIR's qrels, three columns under a
header, are taken as well. All may be gzip.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.opening import open_source, read_lines
from harness.data.tasks import MAX_RELEVANCE
from harness.errors import DataError

SHOWN_PROBLEMS = 5
ID_KEYS = ("_id", "id", "doc_id", "docid", "docno", "query_id", "qid")
TEXT_KEYS = ("text", "contents", "body", "passage", "query")
_BEIR_HEADER = ("query-id", "corpus-id", "score")

OnBytes = Callable[[int, int], object]
"""Told (bytes of a file that have been read, bytes of it)."""


@dataclass(slots=True)
class Lines:
    """What reading a file's lines found.

    Attributes:
        path: the file.
        read: lines that aren't blank.
        bad: of each line that can't be used, its number and why.
        notes: what is odd and was put right → number of lines.
    """

    path: Path
    read: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    def note(self, what: str) -> None:
        """One more line of which this is to be told."""
        self.notes[what] = self.notes.get(what, 0) + 1

    def require_good(self, *, skip: bool) -> None:
        """Refuse bad lines, unless they are to be left out.

        Raises:
            DataError: the first few, by line.
        """
        if not self.bad or skip:
            return
        shown = "; ".join(f"line {number}: {why}" for number, why in self.bad[:SHOWN_PROBLEMS])
        more = f"; and {len(self.bad) - SHOWN_PROBLEMS:,} more" if len(self.bad) > SHOWN_PROBLEMS else ""
        raise DataError(
            f"{self.path}: {len(self.bad):,} of {self.read:,} lines are bad: {shown}{more}; correct them or "
            "pass `skip_bad_rows=True`"
        )


@dataclass(frozen=True, slots=True)
class Retrieved:
    """One document of a run.

    Attributes:
        document: its id.
        rank: as the run has it.
        score: finite.
    """

    document: str
    rank: int
    score: float


def read_run(path: Path) -> tuple[dict[str, list[Retrieved]], Lines]:
    """Documents by query, best first: by score, as trec_eval orders them; equal ones by rank, then by id.

    Raises:
        DataError: the file as a whole can't be read.
    """
    lines = Lines(path)
    run: dict[str, dict[str, tuple[int, Retrieved]]] = {}
    for number, columns in _columns(lines):
        if len(columns) != 6:
            lines.bad.append(
                (number, f"has {len(columns)} columns; a run has 6: query Q0 document rank score tag")
            )
            continue
        query, _, document, rank, score, _ = columns
        value = _number(score)
        if not rank.removeprefix("-").isdecimal():
            lines.bad.append((number, f"rank {rank[:40]} isn't a whole number"))
        elif value is None:
            lines.bad.append((number, f"score {score[:40]} isn't a finite number"))
        elif (before := run.setdefault(query, {}).get(document)) is not None:
            lines.bad.append((number, f"query {query} has document {document} already in line {before[0]}"))
        else:
            run[query][document] = number, Retrieved(document, int(rank), value)
    ordered = {}
    for query, found in run.items():
        documents = [one for _, one in found.values()]
        ordered[query] = sorted(documents, key=lambda one: (-one.score, one.rank, one.document))
        if len({one.score for one in documents}) < len(documents):
            lines.note("queries with equal scores, put in order by rank, then document id")
        if len({one.rank for one in documents}) < len(documents):
            lines.note("queries that have a rank twice; the scores decide")
        ranks = [one.rank for one in ordered[query]]
        if ranks != sorted(ranks):
            lines.note("queries whose ranks contradict their scores; the scores decide")
    return ordered, lines


def read_qrels(path: Path) -> tuple[dict[str, dict[str, float]], Lines]:
    """Labels by query and document; negative ones, which TREC gives to junk, are 0.

    Raises:
        DataError: the file as a whole can't be read.
    """
    lines = Lines(path)
    qrels: dict[str, dict[str, float]] = {}
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    beir = False
    for number, columns in _columns(lines):
        if tuple(columns) == _BEIR_HEADER and not qrels and not beir:
            beir = True
            lines.read -= 1
            continue
        if len(columns) != (3 if beir else 4):
            form = "3: query-id corpus-id score" if beir else "4: query iteration document label"
            lines.bad.append((number, f"has {len(columns)} columns; these qrels have {form}"))
            continue
        query, document, label = columns[0], columns[-2], columns[-1]
        value = _number(label)
        if value is None or value > MAX_RELEVANCE:
            lines.bad.append((number, f"label {label[:40]} isn't a number up to {MAX_RELEVANCE:g}"))
        elif (before := seen.get((query, document))) is not None:
            if before[1] != label:
                said = f"in line {before[0]} with another label"
                lines.bad.append((number, f"query {query} has document {document} already {said}"))
            else:
                lines.note("labels given twice")
        else:
            seen[query, document] = number, label
            if value < 0:
                lines.note("negative labels, taken as 0")
            qrels.setdefault(query, {})[document] = max(0.0, value)
    return qrels, lines


def read_queries(path: Path) -> tuple[dict[str, str], Lines]:
    """Texts by query: JSON lines with an id and a text, or tab-separated lines of the two.

    Raises:
        DataError: the file as a whole can't be read.
    """
    lines = Lines(path)
    queries: dict[str, str] = {}
    first: dict[str, int] = {}
    for number, raw in _texts(lines):
        row = _object(lines, number, raw) if raw.lstrip().startswith("{") else None
        if row is not None:
            name, text = _id(row), _text(row, TEXT_KEYS)
        elif raw.lstrip().startswith("{"):
            continue
        else:
            name, _, text = raw.rstrip("\r\n").partition("\t")
            name, text = name.strip(), text.strip()
        if not name or not text:
            lines.bad.append(
                (number, "has no id and text; write id, tab, text, or JSON with `_id` and `text`")
            )
        elif queries.get(name, text) != text:
            lines.bad.append((number, f"query {name} has another text in line {first[name]}"))
        else:
            queries[name] = text
            first.setdefault(name, number)
    return queries, lines


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus; either part may be empty, not both."""

    title: str
    text: str


def read_corpus(
    path: Path, wanted: Collection[str], on_bytes: OnBytes | None = None
) -> tuple[dict[str, Document], Lines]:
    """The wanted documents of a corpus, which is streamed: memory grows with those alone.

    Raises:
        DataError: the file as a whole can't be read.
    """
    lines = Lines(path)
    documents: dict[str, Document] = {}
    first: dict[str, int] = {}
    for number, raw in _texts(lines, on_bytes):
        row = _object(lines, number, raw)
        if row is None:
            continue
        name = _id(row)
        if not name:
            lines.bad.append((number, f"has no id ({', '.join(ID_KEYS[:5])})"))
        elif name in wanted:
            document = Document(_text(row, ("title",)), _text(row, TEXT_KEYS[:-1]))
            if not document.title and not document.text:
                lines.bad.append((number, f"document {name} has neither title nor text"))
            elif documents.get(name, document) != document:
                lines.bad.append((number, f"document {name} has another text in line {first[name]}"))
            else:
                documents[name] = document
                first.setdefault(name, number)
    return documents, lines


def _texts(lines: Lines, on_bytes: OnBytes | None = None) -> Iterator[tuple[int, str]]:
    """Number and text of each line that isn't blank."""
    with open_source(lines.path) as source:
        for number, raw in read_lines(source):
            lines.read += 1
            if on_bytes and lines.read % 1000 == 0:
                on_bytes(source.position(), source.size)
            if raw is None:
                lines.bad.append((number, "is too long"))
                continue
            try:
                yield number, raw.decode("utf-8")
            except UnicodeDecodeError:
                lines.bad.append((number, "isn't UTF-8"))


def _columns(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    for number, text in _texts(lines):
        yield number, text.split()


def _object(lines: Lines, number: int, text: str) -> Mapping[str, Any] | None:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines.bad.append((number, f"isn't JSON ({error})"))
        return None
    if not isinstance(row, dict):
        lines.bad.append((number, "isn't a JSON object"))
        return None
    return row


def _id(row: Mapping[str, Any]) -> str:
    value = next((row[key] for key in ID_KEYS if key in row), "")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else ""


def _text(row: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    value = next((row[key] for key in keys if isinstance(row.get(key), str) and row[key].strip()), "")
    # Lone surrogates can't be written as UTF-8.
    return value.strip().encode("utf-8", "replace").decode("utf-8")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
