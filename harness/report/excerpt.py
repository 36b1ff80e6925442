"""What is shown of one output: the text, cut where it is very long, and where it left the contract."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_TEXT = 2000
_HEAD, _AROUND, _TAIL = 900, 400, 300


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text with gaps.

    Attributes:
        pieces: what is shown, alternating with the number of characters left out; a text that is shown
            whole is one piece.
        fails_at: place in the joined pieces where the text leaves the contract; its length where it ends too
            early; None where it keeps it.
    """

    pieces: tuple[str | int, ...]
    fails_at: int | None

    @property
    def text(self) -> str:
        """The pieces without the gaps."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))


def excerpt(text: str, fails_at: int | None) -> Excerpt:
    """Cut a text to what is worth showing: its beginning, the failing place, its end."""
    if len(text) <= LONGEST_TEXT:
        return Excerpt((text,), fails_at)
    spans = [(0, _HEAD), (len(text) - _TAIL, len(text))]
    if fails_at is not None:
        spans.append((max(0, fails_at - _AROUND), min(len(text), fails_at + _AROUND)))
    pieces: list[str | int] = []
    end = shown = 0
    place: int | None = None
    for first, last in _merged(sorted(spans)):
        if first > end:
            pieces.append(first - end)
        if fails_at is not None and first <= fails_at <= last and place is None:
            place = shown + fails_at - first
        pieces.append(text[first:last])
        shown += last - first
        end = last
    return Excerpt(tuple(pieces), place)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged = [spans[0]]
    for first, last in spans[1:]:
        if first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
