"""Stored outputs instead of a model: how any other system's answers are scored."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from harness.data.opening import UTF8_BOM, open_source
from harness.data.tasks import Conversation
from harness.engines.base import (
    Capabilities,
    EngineInfo,
    FinishReason,
    Generation,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    TokenScores,
    Unanswered,
    UnansweredError,
)
from harness.engines.config import EngineConfig
from harness.engines.finish_reasons import finish_reason
from harness.errors import DataError, EngineUnavailableError, HarnessError

SHOWN = 5


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row of a replay file."""

    task_id: str
    sample_index: int
    text: str
    finish_reason: FinishReason


def read_row(line: bytes) -> StoredRow:
    """One row; other fields than the documented ones are left alone.

    `finish_reason` may be any service's word. What was withheld, or cut off before its first word, may have
    `text` null, as services record it.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    task_id, text, word = row.get("task_id"), row.get("text"), row.get("finish_reason")
    if not isinstance(task_id, str) or not task_id:
        raise ValueError("task_id is not a non-empty string")
    if word is not None and not isinstance(word, str):
        raise ValueError("finish_reason is not a string")
    reason = finish_reason(word)
    if text is None and reason != "stop":
        text = ""
    if not isinstance(text, str):
        raise ValueError("text is not a string")
    index = row.get("sample_index", 0)
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise ValueError("sample_index is not an integer ≥ 0")
    return StoredRow(task_id, index, text, reason)


class ReplayEngine:
    """Yields the stored text of each sample.

    Only the places of the rows are held in memory, so a file may be larger than that.
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
        self._allow_missing = config.allow_missing
        self._offsets: dict[tuple[str, int], int] = {}
        self._digest = hashlib.sha256()
        self._unpacked: BinaryIO | None = None
        with open_source(self._path) as source:
            if source.stream is not source.raw:
                # Rows are read again in the order of the plan, and a packed file can't be read from a place.
                self._unpacked = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
                shutil.copyfileobj(source.stream, self._unpacked)
        with self._stream() as stream:
            self._scan(stream)

    @contextmanager
    def _stream(self) -> Iterator[BinaryIO]:
        """The rows as bytes, from the first on."""
        try:
            if self._unpacked is not None:
                self._unpacked.seek(0)
                yield self._unpacked
            else:
                with self._path.open("rb") as stream:
                    yield stream
        except OSError as error:
            raise DataError(f"{self._path} can't be read: {error.strerror or error}") from error

    def _scan(self, stream: BinaryIO) -> None:
        bad: list[str] = []
        lines: dict[tuple[str, int], int] = {}
        offset = 0
        for number, whole in enumerate(stream, start=1):
            self._digest.update(whole)
            line = whole.removeprefix(UTF8_BOM) if number == 1 else whole
            start, offset = offset + len(whole) - len(line), offset + len(whole)
            if not line.strip():
                continue
            try:
                row = read_row(line)
            except ValueError as error:
                bad.append(f"line {number}: {error}")
                continue
            place = (row.task_id, row.sample_index)
            if place in lines:
                bad.append(
                    f"line {number}: task {row.task_id} sample {row.sample_index} "
                    f"is already in line {lines[place]}"
                )
            lines[place] = number
            self._offsets[place] = start
        if bad:
            more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
            raise DataError(f"{self._path}: {'; '.join(bad[:SHOWN])}{more}")
        if not lines:
            raise DataError(f"{self._path} holds no rows")

    def info(self) -> EngineInfo:
        """Describe the file; its hash stands in for the weights'."""
        return EngineInfo(
            name="replay",
            version="1",
            checkpoint=str(self._path),
            weights_sha256=self._digest.hexdigest(),
            options={"rows": len(self._offsets)},
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
        wanted = [request for request in requests if self._place(request) in self._offsets]
        lacking = [one for one in requests if self._place(one) not in self._offsets]
        if len(lacking) > self._allow_missing:
            tasks = list(dict.fromkeys(one.task_id for one in lacking))
            named = ", ".join(tasks[:SHOWN]) + (" …" if len(tasks) > SHOWN else "")
            raise DataError(
                f"{self._path} has no row for {len(lacking)} of {len(requests)} samples, of "
                f'{len(tasks)} tasks: {named}; add them (an answer that never came is a row with text ""), '
                f"or allow for them with `allow_missing={len(lacking)}`"
            )
        finished = set(done)
        return self._read([request for request in wanted if request.key not in finished], lacking)

    def _read(
        self, requests: Sequence[GenerationRequest], lacking: Sequence[GenerationRequest]
    ) -> Iterator[Generation]:
        with self._stream() as stream:
            for request in requests:
                stream.seek(self._offsets[self._place(request)])
                row = read_row(stream.readline())
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
        """Drop what was unpacked."""
        if self._unpacked is not None:
            self._unpacked.close()

    @staticmethod
    def _place(request: GenerationRequest) -> tuple[str, int]:
        return request.task_id, request.sample_index
