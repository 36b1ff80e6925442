"""Checksums inside a run's own files: a line and a document know whether they are as they were written.

They find what a disk, a copy or an editor changed. They are no signature: whoever recomputes them can write
what they like, which is why nothing that is derived is believed over its source (`Source`).
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.files import whole_lines

_FIELD = b',"crc32":"'
_TAIL = len(_FIELD) + 8 + len(b'"}\n')
_SEAL = "seal"
_KEY = re.compile(rb'"(?:key|task_id|sample)": ?"((?:[^"\\]|\\.){1,200})"')


def sealed_line(row: bytes) -> bytes:
    """A JSON object as a line whose last field is the CRC-32 of all before it.

    Args:
        row: the object, not empty, without a line end.
    """
    body = row[:-1]
    return b'%b%b%08x"}\n' % (body, _FIELD, zlib.crc32(body))


def opened_line(line: bytes) -> bytes | None:
    """The JSON object of a sealed line without its checksum; None where the line has none.

    Raises:
        ValueError: the line isn't what was written.
    """
    tail = line[-_TAIL:]
    if not (tail.startswith(_FIELD) and tail.endswith(b'"}\n')):
        return None
    body = line[:-_TAIL]
    if b"%08x" % zlib.crc32(body) != tail[len(_FIELD) : -3]:
        raise ValueError(f"its checksum isn't that of what it holds{_named(line)}")
    return body + b"}"


def sealed_lines(path: Path, *, required: bool, remedy: str) -> Iterator[tuple[int, bytes]]:
    """Numbers and objects of a file's whole lines, each as it was written.

    Args:
        path: of the file.
        required: whether every line must have a checksum; otherwise those before the first one that has one,
            which an older version wrote, need none.
        remedy: what to do about a line that was damaged.

    Raises:
        DataError: the file can't be read, or a line isn't what was written; the message names it.
    """
    for number, line in whole_lines(path):
        try:
            row = opened_line(line)
            if row is None and required:
                raise ValueError(f"it has no checksum, and every line of its file has one{_named(line)}")
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}; {remedy}") from None
        required = required or row is not None
        yield number, line if row is None else row


def sealed_document(content: Mapping[str, Any], *, indent: int = 1) -> str:
    """A JSON document that ends with a checksum of its content; formatting doesn't count."""
    plain = json.loads(json.dumps(content, allow_nan=False))
    return json.dumps(plain | {_SEAL: _seal_of(plain)}, indent=indent, allow_nan=False) + "\n"


def opened_document(data: bytes) -> tuple[dict[str, Any], bool]:
    """The content of a document without its seal, and whether it has one; without, an older version wrote it.

    Raises:
        ValueError: it isn't a JSON object, or isn't what was written.
    """
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError("not an object")
    seal = content.pop(_SEAL, None)
    if seal is not None and seal != _seal_of(content):
        raise ValueError("its seal isn't that of what it holds: it was changed by hand, or damaged")
    return content, seal is not None


def _seal_of(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _named(line: bytes) -> str:
    """Which row it is, as far as a damaged one can say."""
    found = _KEY.search(line)
    return f" (row of {found[1].decode('ascii', 'backslashreplace')})" if found else ""
