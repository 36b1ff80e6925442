"""Numbers and untrusted text as they are shown."""

from __future__ import annotations

import re
from collections.abc import Callable

from harness.masking import masked as masked_secrets
from harness.plain_text import escaped

_WORD = re.compile(r"[^\W_]+")
_SMALL_NUMBER = re.compile(r"\d{1,2}")
_END = "\n"
_SIZES = ((1e9, " B"), (1e6, " M"), (1e3, " K"), (1.0, ""))
_SHARES = {
    0.1: "a tenth of the",
    0.25: "a quarter of the",
    1 / 3: "a third of the",
    0.5: "half the",
    2 / 3: "two thirds of the",
    0.75: "three quarters of the",
    1.0: "as many",
    2.0: "twice the",
    4.0: "four times the",
    10.0: "ten times the",
}
_NEARLY = 0.03

Shown = Callable[[float], str]
"""Writes a number."""


def visible(text: str) -> str:
    """Text in which every character can be seen and none moves another.

    Control characters, marks that reorder text, lone surrogates, unusual spaces and unassigned characters
    become escapes such as `\\x00` or `\\u202e`; line ends stay. Secrets are masked.
    """
    text = masked_secrets(text)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == _END else escaped(char) for char in text)


def one_line(text: str, longest: int = 200) -> str:
    """A name on one line, cut after `longest` characters."""
    line = visible(" ".join(text.split())) or "(empty)"
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def masked(text: str, keep: str) -> str:
    """Text whose words are unreadable: letters and digits become `x`.

    Numbers of one or two digits and the word `keep` stay, so that the form of an answer can still be judged.
    """

    def mask(word: re.Match[str]) -> str:
        found = word.group()
        if found == keep or (_SMALL_NUMBER.fullmatch(found) and found.isascii()):
            return found
        return "x" * len(found)

    return _WORD.sub(mask, text)


def percent(value: float) -> str:
    """`19.9 %`; more digits where one would turn almost all into all, or almost nothing into nothing."""
    for digits in (1, 2, 3, 4):
        shown = f"{100 * value:.{digits}f}"
        if (float(shown) == 100.0) == (value == 1.0) and (float(shown) == 0.0) == (value == 0.0):
            break
    return f"{_minus(shown)} %"


def points(value: float) -> str:
    """A difference of rates in percentage points, signed: `+61.3`; more digits where one would show none."""
    for digits in (1, 2, 3, 4):
        shown = f"{100 * value:+.{digits}f}"
        if value == 0.0 or float(shown) != 0.0:
            break
    return _minus(shown) if value else "0.0"


def decimal(value: float) -> str:
    """`0.866`."""
    return _minus(f"{value:z.3f}")


def signed(value: float) -> str:
    """`+0.012`."""
    return _minus(f"{value:+z.3f}")


def threshold(value: float) -> str:
    """A λ*: `1.340`."""
    return f"{value:.3f}" if value < 100 else f"{value:.4g}"


def probability(value: float) -> str:
    """A p-value: `0.034`, `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def whole(value: float) -> str:
    """`1,234,567`."""
    return f"{value:,.0f}"


def three_digits(value: float) -> str:
    """`242`, `0.87`."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def seconds(value: float) -> str:
    """`29.3 s`, `3 min 20 s`, `2 h 05 min`."""
    if value < 100:
        return f"{value:.1f} s"
    whole_seconds = round(value)
    if whole_seconds < 6000:
        return f"{whole_seconds // 60} min {whole_seconds % 60:02d} s"
    return f"{whole_seconds // 3600} h {whole_seconds % 3600 // 60:02d} min"


def parameters(*values: float) -> Shown:
    """How numbers of parameters are written in one unit: `1.7 B`, `775 K`.

    The largest decides the unit; a number far below it, `0.4 M` beside `8 B`, keeps one of its own.
    """

    def written(value: float) -> str:
        for least in (max(values, default=value), value):
            size, unit = next((one for one in _SIZES if least >= one[0]), _SIZES[-1])
            if value >= size / 20:
                break
        return f"{value / size:.3g}{unit}"

    return written


def share_of(ratio: float) -> str:
    """How many parameters a run has beside another: `half the parameters`, `4.7× the parameters`."""
    for value, words in _SHARES.items():
        if abs(ratio / value - 1) <= _NEARLY:
            return f"{words} parameters"
    return f"{ratio:.2g}× the parameters"


def _minus(text: str) -> str:
    return text.replace("-", "−")
