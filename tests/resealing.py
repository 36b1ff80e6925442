"""A run's files changed as their writer could have written them: checksums fit, or there are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.runs.seals import opened_document, opened_line, sealed_document, sealed_line

Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    """The rows of a file of lines, without their checksums."""
    lines = path.read_bytes().splitlines(keepends=True)
    return [json.loads(opened_line(line) or line) for line in lines]


def write_rows(path: Path, rows: list[Row]) -> None:
    """Replace a file of lines."""
    path.write_bytes(b"".join(sealed_line(json.dumps(row, separators=(",", ":")).encode()) for row in rows))


def change_rows(path: Path, change: Callable[[list[Row]], Any]) -> None:
    """Change the rows of a file of lines in place."""
    rows = rows_of(path)
    change(rows)
    write_rows(path, rows)


def change_document(path: Path, change: Callable[[Row], Any]) -> None:
    """Change the content of a sealed document in place."""
    content, _ = opened_document(path.read_bytes())
    change(content)
    path.write_text(sealed_document(content))


def made_before_checksums(run: Path) -> None:
    """What a run of format 1 looked like."""
    for path in run.glob("*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join((opened_line(line) or line) + b"\n" for line in lines))
    for path in run.glob("*.json"):
        content = json.loads(path.read_bytes())
        for name in ("seal", "source", "baseline_source", "baseline_run", "read_sha256"):
            content.pop(name, None)
        if path.name == "manifest.json":
            content["format_version"] = 1
        path.write_text(json.dumps(content))
