"""`judge.jsonl`: append-only, one line a judged ranking, judged pair, human label or rubric used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.errors import DataError
from harness.files import LineLog, resumable
from harness.judge.answer import Preference, UnscoredReason
from harness.judge.rubric import Rubric
from harness.runs.directory import JUDGE_LOG, REJUDGE
from harness.runs.seals import sealed_line, sealed_lines


@dataclass(frozen=True, slots=True)
class RubricUse:
    """From this line on, judgements by this rubric follow.

    Attributes:
        digest: of the rubric.
        job: identity of run and rubric in the store, under which requests and money are counted over all
            sessions.
        rubric: all of it, so that the run alone is enough to compute every number again.
    """

    digest: str
    job: str
    rubric: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One sample's ranking, judged once.

    Attributes:
        digest: of the rubric.
        sample: key of the sample.
        task_id: its task.
        repeat: 0-based; decides with `order_seed` in which order the candidates were shown.
        order_seed: seed of the presentation.
        ranking: what was judged.
        model: the judge.
        client: library and version that sent it.
        scores: criterion → score, None when unscored.
        unscored: the reason, None when scored.
        note: the judge's justification, or what was wrong.
        prompt_tokens: None when unknown.
        output_tokens: None when unknown.
        cached: whether the answer was there already.
    """

    digest: str
    sample: str
    task_id: str
    repeat: int
    order_seed: int
    ranking: tuple[int, ...]
    model: str
    client: str
    scores: dict[str, int] | None
    unscored: UnscoredReason | None
    note: str
    prompt_tokens: int | None
    output_tokens: int | None
    cached: bool


@dataclass(frozen=True, slots=True)
class PairJudgement:
    """One sample's ranking beside that of another run, judged once.

    Attributes:
        digest: of the rubric.
        other: name of the other run in metric names.
        sample: key of this run's sample.
        task_id: its task.
        repeat: 0-based pair of presentations.
        order_seed: seed of the presentation.
        shown: `first` when this run's ranking was shown first, else `second`; None when both are the
            same, which is a tie that nobody needs to be asked about.
        ranking: this run's.
        other_ranking: the other run's.
        model: the judge; empty when nobody was asked.
        client: library and version that sent it; empty when nobody was asked.
        better: which position won, None when unscored.
        unscored: the reason, None when scored.
        note: the judge's justification, or what was wrong.
        prompt_tokens: None when unknown.
        output_tokens: None when unknown.
        cached: whether the answer was there already.
    """

    digest: str
    other: str
    sample: str
    task_id: str
    repeat: int
    order_seed: int
    shown: Preference | None
    ranking: tuple[int, ...]
    other_ranking: tuple[int, ...]
    model: str
    client: str
    better: Preference | None
    unscored: UnscoredReason | None
    note: str
    prompt_tokens: int | None
    output_tokens: int | None
    cached: bool


@dataclass(frozen=True, slots=True)
class HumanLabel:
    """A person's score of a sample.

    Attributes:
        rubric: name of the rubric it is compared with.
        sample: key of the sample.
        score: the person's score, on any scale that grows with quality.
    """

    rubric: str
    sample: str
    score: float


Record = RubricUse | Judgement | PairJudgement | HumanLabel
_KINDS: dict[str, type[Record]] = {
    "rubric": RubricUse,
    "ranking": Judgement,
    "pair": PairJudgement,
    "label": HumanLabel,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_TUPLES = ("ranking", "other_ranking")


class JudgeLog:
    """Appends to a run's `judge.jsonl`, made with its first line; a line that a crash tore goes then.

    Args:
        folder: the run directory, locked by the caller.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: LineLog | None = None
        self._held: list[Record] = []

    def __enter__(self) -> JudgeLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def hold(self, record: Record) -> None:
        """Keep a line back until another is added, or `release`: alone it would look like a judging."""
        self._held.append(record)

    def release(self) -> None:
        """Add what was held back.

        Raises:
            IncompleteError: as `append`.
        """
        held, self._held = self._held, []
        for record in held:
            self.append(record)

    def append(self, record: Record) -> None:
        """Add a line; it is with the operating system when this returns.

        Raises:
            IncompleteError: the disk is full or gone; what was written before is kept.
        """
        self.release()
        row = {"kind": _NAMES[type(record)], **asdict(record)}
        with resumable(self._folder):
            if self._file is None:
                self._file = LineLog(self._folder / JUDGE_LOG)
            self._file.append(
                sealed_line(json.dumps(row, separators=(",", ":"), allow_nan=False).encode("ascii"))
            )


def read_records(folder: Path) -> Iterator[Record]:
    """Stream a run's judge records, oldest first, skipping a torn last line; none when nothing was judged.

    Raises:
        DataError: a line before the last can't be read; the message names it.
    """
    path = folder / JUDGE_LOG
    if not path.exists():
        return
    for number, line in sealed_lines(path, required=False, remedy=REJUDGE):
        try:
            yield _from_line(line)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: not a judge record ({error!r}); {REJUDGE}") from error


def read_rubric(use: RubricUse) -> Rubric:
    """The rubric of a `RubricUse`.

    Raises:
        DataError: it was changed by hand or written by another version.
    """
    try:
        rubric = Rubric.model_validate_json(json.dumps(use.rubric))
    except ValueError as error:
        raise DataError(
            f"{JUDGE_LOG} holds a rubric that can't be read: {str(error).splitlines()[0]}"
        ) from error
    if rubric.digest != use.digest:
        raise DataError(f"{JUDGE_LOG} holds a rubric {rubric.name} that was changed; judge the run again")
    return rubric


def _from_line(line: bytes) -> Record:
    row = json.loads(line)
    kind: Any = _KINDS[row.pop("kind")]
    known = {field.name for field in fields(kind)}
    values = {
        name: tuple(value) if name in _TUPLES else value for name, value in row.items() if name in known
    }
    record: Record = kind(**values)
    return record
