"""The samples that are there without a script: a few of every outcome and code, differences marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from harness.report.excerpt import Excerpt
from harness.report.rows import Answer, Row

MOST_EXAMPLES = 12
_LONGEST_DIFF = 1200


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of an output.

    Attributes:
        text: its characters; a note for a gap.
        differs: whether the other output doesn't have it.
        fails: whether the contract is left here.
        gap: whether it stands for characters left out.
    """

    text: str
    differs: bool = False
    fails: bool = False
    gap: bool = False


@dataclass(frozen=True, slots=True)
class ExampleAnswer:
    """An answer with its output in pieces."""

    run: str
    answer: Answer
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A row as it is shown without a script."""

    task_id: str
    index: int
    outcome: str
    answers: tuple[ExampleAnswer, ...]
    prompt: str | None


def examples(rows: Sequence[Row], names: Sequence[str], baseline: int) -> list[Example]:
    """The first row of each combination of codes, broken ones first, then more of each in turn."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        kind = tuple("-" if one is None else one.code or "strict" for one in row.answers)
        groups.setdefault(kind, []).append(row)
    ordered = sorted(groups.values(), key=lambda group: (_order(group[0], baseline), -len(group)))
    chosen: list[Row] = []
    for turn in range(MOST_EXAMPLES):
        chosen += [group[turn] for group in ordered if turn < len(group)]
        if len(chosen) >= MOST_EXAMPLES:
            break
    return [_example(row, names, baseline) for row in chosen[:MOST_EXAMPLES]]


def outcome(row: Row, baseline: int) -> str:
    """`fixed`, `broken`, `both fail`, `both pass` or `mixed` beside the baseline; `pass` or `fail` alone.

    `withheld` where a provider withheld one of the answers.
    """
    if any(answer.withheld for answer in row.answers if answer is not None):
        return "withheld"
    there = [answer.passes for answer in row.answers if answer is not None]
    first = row.answers[baseline]
    if len(there) == 1 or first is None:
        return "pass" if all(there) else "fail"
    others = {
        answer.passes
        for number, answer in enumerate(row.answers)
        if answer is not None and number != baseline
    }
    if len(others) > 1:
        return "mixed"
    if first.passes:
        return "both pass" if True in others else "broken"
    return "fixed" if True in others else "both fail"


def pieces(output: Excerpt, others: Sequence[tuple[int, int]]) -> tuple[Piece, ...]:
    """Cut an output where it begins or ceases to differ, at the failing place and at gaps.

    Args:
        output: the text.
        others: (first, last) of the stretches that the other output doesn't have.
    """
    text, fails_at = output.text, output.fails_at
    cuts = {0, len(text)} | {end for span in others for end in span}
    if fails_at is not None:
        cuts |= {fails_at, min(len(text), fails_at + 1)}
    gaps: dict[int, int] = {}
    at = 0
    for piece in output.pieces:
        if isinstance(piece, int):
            gaps[at] = piece
        else:
            at += len(piece)
    ends = sorted(cuts | gaps.keys())
    found: list[Piece] = []
    for first, last in zip(ends, [*ends[1:], len(text)], strict=True):
        if first in gaps:
            found.append(Piece(f"… {gaps[first]:,} characters left out …", gap=True))
        if first == fails_at and first == len(text):
            found.append(Piece("(end)", fails=True))
        if last > first:
            differs = any(start <= first < end for start, end in others)
            found.append(Piece(text[first:last], differs=differs, fails=first == fails_at))
    return tuple(found)


def differing(mine: str, theirs: str) -> list[tuple[int, int]]:
    """Stretches of `mine` that `theirs` doesn't have, by the longest matching blocks."""
    if len(mine) > _LONGEST_DIFF or len(theirs) > _LONGEST_DIFF:
        return []
    blocks = SequenceMatcher(None, mine, theirs, autojunk=False).get_matching_blocks()
    spans, at = [], 0
    for block in blocks:
        if block.a > at:
            spans.append((at, block.a))
        at = block.a + block.size
    return spans


def _example(row: Row, names: Sequence[str], baseline: int) -> Example:
    first = row.answers[baseline]
    answers = []
    for number, (name, answer) in enumerate(zip(names, row.answers, strict=True)):
        if answer is None:
            continue
        other = (
            next(
                (one for place, one in enumerate(row.answers) if one is not None and place != baseline), None
            )
            if number == baseline
            else first
        )
        spans = [] if other is None else differing(answer.output.text, other.output.text)
        answers.append(ExampleAnswer(name, answer, pieces(answer.output, spans)))
    prompt = next((one.prompt for one in row.answers if one is not None and one.prompt is not None), None)
    return Example(row.task_id, row.index, outcome(row, baseline), tuple(answers), prompt)


def _order(row: Row, baseline: int) -> int:
    kinds = ("broken", "mixed", "fixed", "both fail", "fail", "withheld", "both pass", "pass")
    return kinds.index(outcome(row, baseline))
