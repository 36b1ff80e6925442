"""One line of `samples.jsonl`: what the engine said and what the parser and the metrics made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contract import ParseResult
from harness.errors import DataError
from harness.runs.seals import sealed_line, sealed_lines

_REDO = "delete this line and run the same `harness eval` again to have the sample redone"


@dataclass(frozen=True, slots=True)
class Sample:
    """A finished sample.

    Attributes:
        key: hash of what decides the sample; unique in a run.
        task_id: the task it answers.
        sample_index: 0-based among the samples of this task.
        prompt_sha256: hash of the prompt's token ids, or of its text where the engine has no tokenizer.
        text: the raw completion; of one that reasons first, what stands after the reasoning.
        token_ids: its token ids as drawn; empty where the engine didn't say.
        finish_reason: `stop`, `length` or `withheld`.
        prompt_tokens: None when unknown.
        completion_tokens: None when unknown.
        parse: tier, code, path, message and ranking; None where the answer was withheld.
        scores: metric name → value, None where undefined (not parsed, or labels that can't rank).
        reasoning: what stood before the answer, the mark that ended it included: the raw completion is this
            and `text`. It isn't parsed.
        reasoning_tokens: of the completion's tokens those before the answer, None when unknown.
    """

    key: str
    task_id: str
    sample_index: int
    prompt_sha256: str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    parse: ParseResult | None
    scores: dict[str, float | None]
    reasoning: str = ""
    reasoning_tokens: int | None = None

    @property
    def strict_ranking(self) -> tuple[int, ...] | None:
        """Its ranking where it keeps the contract, None where it doesn't."""
        strict = self.parse is not None and self.parse.tier == "strict"
        return self.parse.ranking if self.parse is not None and strict else None

    def to_line(self) -> bytes:
        """The sample as one sealed JSON line, ASCII only: lone surrogates survive, no reader splits it."""
        row: dict[str, Any] = {
            "key": self.key,
            "task_id": self.task_id,
            "sample_index": self.sample_index,
            "prompt_sha256": self.prompt_sha256,
            "text": self.text,
            "token_ids": self.token_ids,
            "finish_reason": self.finish_reason,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "parse": None if self.parse is None else _fields(self.parse),
            "scores": self.scores,
        }
        if self.reasoning:
            row |= {"reasoning": self.reasoning, "reasoning_tokens": self.reasoning_tokens}
        return sealed_line(json.dumps(row, separators=(",", ":"), allow_nan=False).encode("ascii"))

    @classmethod
    def from_line(cls, line: bytes | str) -> Sample:
        """Read back what `to_line` wrote.

        Raises:
            ValueError: not JSON, or not a sample.
        """
        row = json.loads(line)
        try:
            return cls(
                key=row["key"],
                task_id=row["task_id"],
                sample_index=row["sample_index"],
                prompt_sha256=row["prompt_sha256"],
                text=row["text"],
                token_ids=tuple(row["token_ids"]),
                finish_reason=row["finish_reason"],
                prompt_tokens=row["prompt_tokens"],
                completion_tokens=row["completion_tokens"],
                parse=None if row["parse"] is None else _parse_result(row["parse"]),
                scores=row["scores"],
                reasoning=row.get("reasoning", ""),
                reasoning_tokens=row.get("reasoning_tokens"),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a sample: {error!r}") from error


def _fields(parse: ParseResult) -> dict[str, Any]:
    return {
        "tier": parse.tier,
        "code": parse.code,
        "path": parse.path,
        "message": parse.message,
        "ranking": parse.ranking,
    }


def _parse_result(row: dict[str, Any]) -> ParseResult:
    ranking = row["ranking"]
    return ParseResult(
        tier=row["tier"],
        code=row["code"],
        path=row["path"],
        message=row["message"],
        ranking=None if ranking is None else tuple(ranking),
    )


def read_samples(path: Path, *, sealed: bool = False) -> Iterator[Sample]:
    """Stream the samples of a `samples.jsonl`, skipping a torn last line.

    Args:
        path: of the file.
        sealed: whether every line must have a checksum (`Manifest.sealed`).

    Raises:
        DataError: the file, or a line before the last, can't be read or isn't what was written; the message
            names it.
    """
    if not path.exists():
        raise DataError(
            f"{path.parent} has no {path.name} any more; restore it, or run the same `harness eval` again to "
            "have it drawn anew"
        )
    for number, line in sealed_lines(path, required=sealed, remedy=_REDO):
        try:
            yield Sample.from_line(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}; {_REDO}") from error
