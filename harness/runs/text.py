"""Text that comes from a run, made harmless for Markdown."""

from __future__ import annotations

import math
import re

from harness.plain_text import plain

_SPECIAL = re.compile(
    r"""
    [\\|`*~$\[\]]               # Escapes, cells, code, emphasis, formulas, links.
    | (?<![^\W_])_ | _(?![^\W_])  # Inside a word an underscore is no emphasis.
    | <(?![\s\d=])              # Of a tag or an address.
    | &(?=[\#A-Za-z])           # Of an entity.
    | \#(?=\d|\#*$)             # Of an issue, or at the end of a heading.
    | (?<![^\W_])@ | @(?=[\w.-]*\.\w)  # Of a person or an address; `NDCG@1` is neither.
    | :(?=\S)                   # Of an address or a smiley.
    | (?i:(?<=\bwww)\.)
    | ^[\#>] | ^=+(?=\s*$)      # Of a heading or a quote.
    | ^[-+](?=\s|$|[-+]) | ^\d+(?=[.)](?:\s|$))  # Of a list or a rule.
    """,
    re.VERBOSE,
)
"""What Markdown, as GitHub reads it, could take for more than a character."""
_BACKSLASHED = frozenset("`*~$[]_<>&-+=")
"""What a backslash makes plain for every reader of Markdown; an entity does it for the rest."""


def escape(text: str) -> str:
    """Text as it stands, whatever it holds, and readable in a terminal as far as GitHub leaves it alone.

    What Markdown or HTML could take for more gets a backslash or becomes an entity; all else stays:
    `parse_validity.strict >= 0.95` is as it was.
    """
    return _SPECIAL.sub(lambda match: "".join(map(_made_plain, match[0])), plain(text).strip())


def level(alpha: float) -> str:
    """Level of a two-sided interval in percent, without the sign: `90`, `97.5`, `99.9934`.

    To two decimals, and further where two digits of what it leaves out need it, so that none is `100`.

    Args:
        alpha: by which each end errs, in (0, 0.5).
    """
    outside = 200.0 * alpha
    decimals = max(2, 1 - math.floor(math.log10(outside)))
    return f"{100.0 - outside:.{decimals}f}".rstrip("0").rstrip(".")


def _made_plain(char: str) -> str:
    return f"\\{char}" if char in _BACKSLASHED else f"&#{ord(char)};"
