"""Which code made a number: hashes of source files, so that a lock can say what must not change."""

from __future__ import annotations

import hashlib
from pathlib import Path

import harness

ROOT = Path(harness.__file__).parent

ANALYSIS = (
    "sweep/prereg/lock_file.py",
    "sweep/prereg/outcomes.py",
    "sweep/analysis.py",
    "sweep/results.py",
    "stats/bootstrap.py",
    "stats/decision.py",
    "stats/distributions.py",
    "stats/equivalence.py",
    "stats/firth.py",
    "stats/intervals.py",
    "stats/onset.py",
    "stats/threshold.py",
)
"""What turns results into onsets, hits and misses."""

PREDICTION = ("cliff/*.py", "measure/*.py", "sweep/prereg/lock.py")
"""What turns teacher and base into windows; it has done its work when the lock is written."""

TRAINING = (
    "contract/*.py",
    "data/*.py",
    "engines/*.py",
    "evaluate/**/*.py",
    "measure/*.py",
    "metrics/*.py",
    "opd/**/*.py",
    "sweep/**/*.py",
    "runs/*.py",
)
"""What turns checkpoints into results."""


def code_hashes(patterns: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of the package's source files that match, by their path inside the package."""
    files = sorted({path for pattern in patterns for path in ROOT.glob(pattern)})
    return {
        path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def digest(hashes: dict[str, str]) -> str:
    """One hash for all of them."""
    lines = "".join(f"{name} {value}\n" for name, value in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def changed_files(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Files that differ, came or went, in alphabetical order."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
