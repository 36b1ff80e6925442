"""Which code made a number: what the modules that decide it mean, wherever they live and however written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import harness
from harness.errors import RunMismatchError
from harness.sweep.meaning import meaning

OnCodeChange = Callable[[str], None]
"""Told in words what differs; raises where it isn't to be."""

ANALYSIS = {
    "analysis": "harness.sweep.analysis",
    "onsets": "harness.sweep.onsets",
    "results": "harness.sweep.results",
    "outcomes": "harness.sweep.prereg.outcomes",
    "bootstrap": "harness.stats.bootstrap",
    "decision": "harness.stats.decision",
    "distributions": "harness.stats.distributions",
    "equivalence": "harness.stats.equivalence",
    "firth": "harness.stats.firth",
    "intervals": "harness.stats.intervals",
    "monotone": "harness.stats.monotone",
    "onset": "harness.stats.onset",
    "threshold": "harness.stats.threshold",
}
"""What turns results into onsets, hits and misses: its name in records, and where it lives today."""

TRAINING = {
    "loop": "harness.opd.loop.job",
    "rounds": "harness.opd.rounds.making",
    "round": "harness.opd.rounds.round",
    "rollout": "harness.opd.rounds.drawing",
    "packing": "harness.opd.rounds.packing",
    "scoring": "harness.opd.rounds.scoring",
    "policies": "harness.opd.models.loading",
    "policy": "harness.opd.models.policy",
    "loss": "harness.opd.loop.loss",
    "update": "harness.opd.loop.update",
    "optimisation": "harness.opd.optimisation",
    "training": "harness.opd.sft.training",
    "prompt": "harness.data.prompt",
    "generation": "harness.engines.hf_generate",
    "sampling": "harness.engines.hf_sampling",
    "parser": "harness.contract.parser",
    "ranking": "harness.metrics.ranking",
}
"""What decides weights and their evaluation; a moved module changes its right side here and nothing else."""

LINEAGE = Path(__file__).with_name("lineage.json")


def code_meanings(modules: Mapping[str, str]) -> dict[str, str]:
    """The meaning of modules of this package, by their names in records."""
    return {
        name: meaning(source_file(module).read_text(encoding="utf-8")) for name, module in modules.items()
    }


def source_file(module: str) -> Path:
    """Where a module of this package lies, without importing it."""
    place = Path(harness.__file__).parent.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def digest(hashes: Mapping[str, str]) -> str:
    """One hash for all of them."""
    lines = "".join(f"{name} {value}\n" for name, value in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def changed_modules(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Modules that came, went or mean something else, in alphabetical order.

    A rewriting that `lineage.json` has down as verified is no change.
    """
    return sorted(
        name for name in before.keys() | after.keys() if not _equal(name, before.get(name), after.get(name))
    )


def from_file_hashes(hashes: Mapping[str, str]) -> dict[str, str]:
    """What records of format 1 held, hashes of files by path, as meanings by name.

    Files that decide nothing are left out; bytes that nobody knows any more equal no meaning.
    """
    known = _lineage()["files"]
    return {
        known[path]["module"]: known[path]["meanings"].get(sha256, f"file {sha256}")
        for path, sha256 in hashes.items()
        if path in known
    }


def refuse(change: str) -> None:
    """An `OnCodeChange` that allows none.

    Raises:
        RunMismatchError: always.
    """
    raise RunMismatchError(f"{change}; use the same code, or give an `on_code_change` that allows it")


def tell_changes(
    what: str, before: Mapping[str, str], after: Mapping[str, str], on_code_change: OnCodeChange
) -> list[str]:
    """Tell what differs between two codes, if anything does.

    Args:
        what: the beginning of the sentence, such as "the analysis code has changed since the lock".
        before: meanings as recorded.
        after: meanings now.
        on_code_change: told the sentence.

    Returns:
        The names of what changed.
    """
    changed = changed_modules(before, after)
    if changed:
        steps = (f"{name} {_short(before.get(name))} → {_short(after.get(name))}" for name in changed)
        on_code_change(f"{what}: {', '.join(steps)}")
    return changed


def _equal(name: str, one: str | None, other: str | None) -> bool:
    return one == other or any({one, other} <= set(same) for same in _lineage()["equal"].get(name, ()))


def _short(value: str | None) -> str:
    return "nothing" if value is None else value[:8]


@cache
def _lineage() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(LINEAGE.read_text(encoding="utf-8"))
    return content
