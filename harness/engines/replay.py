"""Stored outputs instead of a model: how any other system's answers are scored."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from harness.data.opening import UTF8_BOM, open_source
from harness.data.tasks import Conversation
from harness.engines.base import (
    Capabilities,
    EngineInfo,
    Generation,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    TokenScores,
    Unanswered,
    UnansweredError,
)
from harness.engines.config import EngineConfig
from harness.engines.replay_rows import NoAnswerError, Shape, StoredRow, read_object, shape_of
from harness.errors import DataError, EngineUnavailableError, HarnessError

SHOWN = 5
MOST_DOCUMENT_BYTES = 1024 * 1024 * 1024
"""Of a file that is one JSON document, which has to be held in memory."""
_SHOWN_IDS = 2


class ReplayEngine:
    """Yields the stored text of each sample.

    Only the places of the rows are held in memory, so a file of JSON lines may be larger than that.
    """

    capabilities = Capabilities()

    def __init__(self, config: EngineConfig) -> None:
        """Read and check the file.

        Raises:
            DataError: missing, or with bad or duplicate rows.
            HarnessError: no file named.
        """
        if config.replay is None:
            raise HarnessError("the replay engine needs a file of stored outputs; give `replay=FILE`")
        self._path = Path(config.replay).expanduser()
        self._fields = config.fields
        self._allow_missing = config.allow_missing
        self._places: dict[tuple[str, int], tuple[int, int]] = {}
        """Where a sample's row begins, and which of the row's answers it is."""
        self._failed: list[int] = []
        self._shape: Shape | None = None
        self._lines: IO[bytes] | None = None
        self._unit = "line"
        self._sha256 = self._unpack()
        try:
            self._scan()
        except OSError as error:
            raise DataError(f"{self._path} can't be read: {error.strerror or error}") from error

    def _unpack(self) -> str:
        """Have lines that can be read in any order: of the file itself, or of a copy in a temporary file.

        Returns:
            SHA-256 of the file as it lies on disk.
        """
        with open_source(self._path) as source:
            sha256 = _sha256_of(self._path)
            packed = source.stream is not source.raw
            if not packed and not _is_document(source.stream):
                return sha256
            source.stream.seek(0)
            lines = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
            self._lines = lines
            try:
                shutil.copyfileobj(source.stream, lines)
                lines.seek(0)
                if _is_document(lines):
                    self._unit = "result"
                    self._spread(lines)
            except OSError as error:
                lines.close()
                raise DataError(
                    f"{self._path} can't be unpacked in {tempfile.gettempdir()} "
                    f"({error.strerror or error}); unpack it yourself"
                ) from error
        return sha256

    def _spread(self, lines: IO[bytes]) -> None:
        """Put the results of one JSON document on a line each."""
        size = lines.seek(0, 2)
        if size > MOST_DOCUMENT_BYTES:
            raise DataError(f"{self._path} is one JSON document of {size:,} bytes; write one result a line")
        lines.seek(0)
        try:
            document = json.loads(lines.read().removeprefix(UTF8_BOM))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self._path} is neither JSON lines nor one JSON document ({error}); write one answer a line"
            ) from error
        results = _results(document)
        if results is None:
            names = ", ".join(list(document)[:SHOWN]) if isinstance(document, dict) else "none"
            raise DataError(
                f"{self._path} is one JSON document without a list of results (its keys: {names}); write one "
                "answer a line"
            )
        lines.seek(0)
        lines.truncate()
        for result in results:
            lines.write(json.dumps(result).encode("ascii") + b"\n")

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self._lines is not None:
            self._lines.seek(0)
            yield self._lines
        else:
            with self._path.open("rb") as stream:
                yield stream

    def _rows(self, line: bytes) -> list[StoredRow]:
        row = read_object(line.removeprefix(UTF8_BOM))
        if self._shape is None:
            self._shape = shape_of(row)
        return self._shape.rows(row, self._fields)

    def _scan(self) -> None:
        bad: dict[str, list[int]] = {}
        first: dict[tuple[str, int], tuple[int, str | None, int]] = {}
        offset = 0
        with self._opened() as stream:
            for number, line in enumerate(stream, start=1):
                start, offset = offset, offset + len(line)
                if not line.removeprefix(UTF8_BOM).strip():
                    continue
                try:
                    rows = self._rows(line)
                except NoAnswerError:
                    self._failed.append(number)
                    continue
                except ValueError as error:
                    bad.setdefault(str(error), []).append(number)
                    continue
                for place, row in enumerate(rows):
                    key = (row.task_id, row.sample_index)
                    said = hash(row.text)
                    if key in first:
                        before, view, same = first[key]
                        if row.repeated == view or said != same:
                            bad.setdefault(self._twice(row, before), []).append(number)
                        continue
                    first[key] = (number, row.repeated, said)
                    self._places[key] = (start, place)
        if bad:
            raise DataError(f"{self._path}: {self._listed(bad)}")
        if not first:
            failed = f" but of {len(self._failed)} requests that failed" if self._failed else ""
            raise DataError(f"{self._path} holds no rows{failed}")

    def _listed(self, bad: Mapping[str, Sequence[int]]) -> str:
        """Every reason once, with the first line that it is about and how many more there are."""
        said = []
        for reason, numbers in list(bad.items())[:SHOWN]:
            others = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
            said.append(f"{self._unit} {numbers[0]}{others}: {reason}")
        left = sum(map(len, list(bad.values())[SHOWN:]))
        return "; ".join(said) + (f"; and {left} more" if left else "")

    def _twice(self, row: StoredRow, before: int) -> str:
        return f"task {row.task_id} sample {row.sample_index} is already in {self._unit} {before}"

    def info(self) -> EngineInfo:
        """Describe the file; its hash stands in for the weights', with the fields that were asked for."""
        options: dict[str, Any] = {"rows": len(self._places)}
        if self._shape is not None and self._shape.name != "own":
            options["format"] = self._shape.name
        if self._failed:
            options["failed_requests"] = len(self._failed)
        sha256 = self._sha256
        if self._fields:
            options["fields"] = dict(self._fields)
            named = json.dumps([sha256, sorted(self._fields.items())])
            sha256 = hashlib.sha256(named.encode()).hexdigest()
        return EngineInfo(
            name="replay", version="1", checkpoint=str(self._path), weights_sha256=sha256, options=options
        )

    @property
    def tokenizer(self) -> None:
        """There is none."""

    def encode(
        self, prompts: Sequence[Conversation], arguments: Mapping[str, Any] | None = None
    ) -> list[tuple[int, ...]]:
        """Empty ids: there is no tokenizer.

        Raises:
            HarnessError: something was to be said to a chat template.
        """
        if arguments:
            raise HarnessError("a replay file has no chat template; leave `chat_template_kwargs=` out")
        return [() for _ in prompts]

    def start(self) -> None:
        """Nothing to load."""

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        done: Collection[str] = frozenset(),
    ) -> Iterator[Generation]:
        """Yield the stored text of every request that isn't done, in their order.

        Raises:
            DataError: more of the requested samples aren't in the file than may be missing.
            UnansweredError: at the end, of those that aren't.
        """
        wanted = [request for request in requests if self._place(request) in self._places]
        lacking = [one for one in requests if self._place(one) not in self._places]
        if len(lacking) > self._allow_missing:
            tasks = list(dict.fromkeys(one.task_id for one in lacking))
            named = ", ".join(tasks[:SHOWN]) + (" …" if len(tasks) > SHOWN else "")
            raise DataError(
                f"{self._path} has no row for {len(lacking)} of {len(requests)} samples, of "
                f"{len(tasks)} tasks: {named}{self._others()}; add them (an answer that never came is a row "
                f'with text ""), or allow for them with `allow_missing={len(lacking)}`'
            )
        finished = set(done)
        return self._read([request for request in wanted if request.key not in finished], lacking)

    def _read(
        self, requests: Sequence[GenerationRequest], lacking: Sequence[GenerationRequest]
    ) -> Iterator[Generation]:
        with self._opened() as stream:
            for request in requests:
                start, place = self._places[self._place(request)]
                stream.seek(start)
                row = self._rows(stream.readline())[place]
                yield Generation(
                    key=request.key, text=row.text, token_ids=(), finish_reason=row.finish_reason
                )
        if lacking:
            raise UnansweredError([Unanswered(one.key, f"no row in {self._path}") for one in lacking])

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, done: Collection[str] = frozenset()
    ) -> Iterator[TokenScores]:
        """Stored texts carry no probabilities.

        Raises:
            EngineUnavailableError: always.
        """
        raise EngineUnavailableError("a replay file can't score tokens; use `engine=hf` or vllm")

    def close(self) -> None:
        """Remove the unpacked copy, if there is one."""
        if self._lines is not None:
            self._lines.close()

    def _others(self) -> str:
        """What the file has in place of what is wanted, where that may help."""
        ids = list(dict.fromkeys(task_id for task_id, _ in self._places))[:_SHOWN_IDS]
        failed = ""
        if self._failed:
            failed = f", and {len(self._failed)} requests that failed (first: {self._unit} {self._failed[0]})"
        return (
            f" (it has answers to {', '.join(ids)}{' …' if len(self._places) > _SHOWN_IDS else ''}{failed})"
        )

    @staticmethod
    def _place(request: GenerationRequest) -> tuple[str, int]:
        return request.task_id, request.sample_index


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_document(stream: BinaryIO | IO[bytes]) -> bool:
    """Whether a file is one JSON document over several lines, an array, or promptfoo's on a single line."""
    line = stream.readline().removeprefix(UTF8_BOM).strip()
    while not line and (more := stream.readline()):
        line = more.strip()
    if line.startswith(b"["):
        return True
    if line.startswith(b"{") and not line.endswith(b"}"):
        return True
    if b'"results"' not in line:
        return False
    try:
        return _results(read_object(line)) is not None
    except ValueError:
        return False


def _results(document: Any) -> list[Any] | None:
    """The rows of a JSON document: an array itself, or promptfoo's `results.results`."""
    if isinstance(document, list):
        return document
    results = document.get("results") if isinstance(document, dict) else None
    inner = results.get("results") if isinstance(results, dict) else results
    return inner if isinstance(inner, list) else None
