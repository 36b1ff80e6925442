"""Small made-up files in the forms of the Amazon Reviews releases."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

DAY = 86_400_000
FIRST_DAY = 14_000
"""In 2008: milliseconds of the 1970s would pass for seconds."""


def review(user: str, item: str, day: float, rating: float = 5.0, **more: Any) -> dict[str, Any]:
    """A row of the 2023 release."""
    return {
        "user_id": user,
        "parent_asin": item,
        "asin": f"{item}x",
        "rating": rating,
        "timestamp": int((FIRST_DAY + day) * DAY),
    } | more


def items(count: int) -> list[dict[str, Any]]:
    """Metadata rows of the 2023 release."""
    return [
        {"parent_asin": f"B{number:04d}", "title": f"Title of item {number}", "price": None}
        for number in range(count)
    ]


def random_reviews(users: int, catalogue: int, seed: int) -> list[dict[str, Any]]:
    """Reviews by users with 1…9 rows each, with repeats, equal times and every rating."""
    rng = np.random.default_rng(seed)
    return [
        review(
            f"user{user}",
            f"B{rng.integers(catalogue):04d}",
            float(rng.integers(1000, 1012)),
            float(rng.integers(1, 6)),
        )
        for user in range(users)
        for _ in range(rng.integers(1, 10))
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """JSON lines, compressed when the name says so."""
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_text(path: Path, text: str) -> Path:
    """Any text, compressed when the name says so."""
    raw = text.encode("utf-8")
    path.write_bytes(gzip.compress(raw) if path.name.endswith(".gz") else raw)
    return path
