"""How the runs were made, field by field, and where they differ."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from harness.masking import masked_command, masked_values
from harness.report.reading import RunFacts
from harness.runs.manifest import DatasetRecord

_SEPARATELY = ("sessions", "command")
# Hundreds, of which a reader only wants to know whether they are the same.
_TOKENS = "engine.options.special_tokens"
_ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the manifests.

    Attributes:
        name: with dots.
        values: one a run, as text.
        differs: whether they aren't all the same.
    """

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs have different values."""
        return len(set(self.values)) > 1


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How to make a run again.

    Attributes:
        run: its name.
        command: shell command; None where the run was made from Python.
        commit: of the code, None when unknown.
        dirty: whether the code had changes that weren't committed.
    """

    run: str
    command: str | None
    commit: str | None
    dirty: bool


def manifest_fields(runs: Sequence[RunFacts]) -> list[Field]:
    """Every field of the manifests and the hash of every file, in the manifests' order."""
    columns = [_flat(facts) for facts in runs]
    names = dict.fromkeys(name for column in columns for name in column)
    return [Field(name, tuple(column.get(name, _ABSENT) for column in columns)) for name in names]


def reproduction(facts: RunFacts) -> Reproduction:
    """The command that made a run."""
    manifest = facts.run.manifest
    git = manifest.git or {}
    return Reproduction(facts.name, _command(manifest.command), git.get("sha"), bool(git.get("dirty")))


def _command(recorded: Sequence[str]) -> str | None:
    """The recorded command line where it was `harness`, however it was started."""
    if not recorded:
        return None
    program = PurePath(recorded[0])
    if program.name == "harness" or program.match("harness/__main__.py"):
        return shlex.join(masked_command(["harness", *recorded[1:]]))
    return None


def _flat(facts: RunFacts) -> dict[str, str]:
    manifest = masked_values(json.loads(facts.run.manifest.model_dump_json()))
    rows: dict[str, str] = {}
    for name, value in manifest.items():
        if name not in _SEPARATELY:
            _flatten(name, value, rows)
    if tokens := {name: rows.pop(name) for name in list(rows) if name.startswith(f"{_TOKENS}.")}:
        digest = hashlib.sha256(json.dumps(tokens, sort_keys=True).encode()).hexdigest()
        rows[_TOKENS] = f"{len(tokens)} (sha256 {digest[:12]})"
    rows["dataset.path"] = _bundled(facts.run.manifest.dataset)
    rows |= {f"sha256 of {file}": sha256 for file, sha256 in facts.hashes.items()}
    return rows


def _bundled(dataset: DatasetRecord) -> str:
    """Path of the data; of a bundled dataset from its folder on, which is the same on every machine."""
    parts = PurePath(dataset.path).parts
    place = next((n for n, pair in enumerate(pairwise(parts)) if pair == ("datasets", dataset.name)), 0)
    return str(PurePath(*parts[place:]))


def _flatten(name: str, value: Any, rows: dict[str, str]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{name}.{key}", inner, rows)
    else:
        rows[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
