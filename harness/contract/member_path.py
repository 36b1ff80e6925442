"""Where in an answer the ranking stands: JSONPath (RFC 9535) of member names alone, `$.result.ranking`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHORT = re.compile(r"\.([\w-]+)")
_QUOTED = re.compile(r"""\[\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\]""", re.DOTALL)


def members_of(path: str) -> tuple[str, ...]:
    """The member names of a path from the outside in; none for `$`, a bare array.

    Raises:
        ValueError: it is no such path; the message says where.
    """
    if not path.startswith("$"):
        raise ValueError(f"a path begins with $, as $.ranking; {_cut(path)} doesn't")
    names, at = [], 1
    while at < len(path):
        short = _SHORT.match(path, at)
        quoted = None if short else _QUOTED.match(path, at)
        if short:
            names.append(short[1])
        elif quoted:
            names.append(_name(quoted))
        else:
            raise ValueError(f'expected a member, as .name or ["name"], and found {_cut(path[at:])}')
        at = (short or quoted).end()  # type: ignore[union-attr]
    for name in names:
        if not name:
            raise ValueError("a member's name can't be empty")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError("a member's name holds half a surrogate pair") from None
    return tuple(names)


def path_of(members: Iterable[str]) -> str:
    """The path that `members_of` takes apart, in its one usual spelling."""
    return "$" + "".join(
        f".{name}" if PLAIN_NAME.fullmatch(name) else f"[{json.dumps(name, ensure_ascii=False)}]"
        for name in members
    )


def _name(quoted: re.Match[str]) -> str:
    inside = quoted[1]
    if inside is None:
        inside = quoted[2].replace("\\'", "'")
        inside = re.sub(r'(?<!\\)"', '\\"', inside)
    try:
        return str(json.loads(f'"{inside}"'))
    except ValueError:
        raise ValueError(f"{_cut(quoted[0])} is no JSON string") from None


def _cut(text: str) -> str:
    return json.dumps(text if len(text) <= 30 else text[:30] + "...")
