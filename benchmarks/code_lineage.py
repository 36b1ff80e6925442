"""Whether stored sweeps still give the reports they gave, and which rewritings of the code kept them so.

`harness prereg check` refuses a lock whose analysis code means something else today. A rewriting that gives
every stored sweep its stored report (report.json, what `prereg check --json` printed) may be recorded in
lineage.json: it is no change then. A change of a result can't be recorded.

Run: python benchmarks/code_lineage.py [--record]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.sweep.folder import LOCK, SweepFolder
from harness.sweep.meaning import meaning
from harness.sweep.prereg.check import check
from harness.sweep.prereg.lock_file import read_lock
from harness.sweep.provenance import ANALYSIS, LINEAGE, changed_modules, code_meanings

ROOT = Path(__file__).parents[1]
STORED = Path(__file__).parent / "results" / "cliff-measured"
HISTORY = ROOT / ".git"
REPORT = "report.json"
LARGEST = 1e-9
"""Relative difference of a number that another build of a library may make."""


def difference(one: Any, other: Any) -> float:
    """Largest relative difference of two numbers at the same place, infinite where anything else differs.

    What `one` says beside what `other` does is no difference: a report may say more than it did.
    """
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() >= other.keys():
        return max((difference(one[name], other[name]) for name in other), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max((difference(*pair) for pair in zip(one, other, strict=True)), default=0.0)
    if type(one) is float and type(other) is float and one != other:
        return abs(one - other) / max(abs(one), abs(other))
    return 0.0 if one == other and type(one) is type(other) else math.inf


def from_history(rows: dict[str, Any]) -> tuple[int, int]:
    """How many recorded meanings of files git's history still has, of how many; a wrong one ends it all."""
    found = 0
    for path, row in rows.items():
        name = f"harness/{path}"
        commits = _git("log", "--all", "--format=%H", "--", name).decode().split() if HISTORY.exists() else []
        for blob in {_git("show", f"{commit}:{name}") for commit in commits if _holds(commit, name)}:
            recorded = row["meanings"].get(sha256(blob).hexdigest())
            if recorded is not None and recorded != meaning(blob.decode()):
                raise SystemExit(f"lineage.json has another meaning of {path} than git's history")
            found += recorded is not None
    return found, sum(len(row["meanings"]) for row in rows.values())


def record(lineage: dict[str, Any], before: dict[str, str], after: dict[str, str]) -> None:
    """Note that what changed between two codes gives the same results."""
    for name in changed_modules(before, after):
        classes = lineage["equal"].setdefault(name, [])
        same = next((one for one in classes if before.get(name) in one), None)
        if same is None:
            same = [before.get(name)]
            classes.append(same)
        if after.get(name) not in same:
            same.append(after.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--record", action="store_true", help="note today's code as equal, if it is")
    given = parser.parse_args()
    code, lineage = code_meanings(ANALYSIS), json.loads(LINEAGE.read_text("utf-8"))
    failed = changed = False
    for folder in sorted(file.parent for file in STORED.glob(f"*/{LOCK}")):
        told: list[str] = []
        report = json.loads(json.dumps(check(SweepFolder(folder), told.append).to_dict()))
        report.pop("allowed_code_changes", None)
        apart = difference(report, json.loads((folder / REPORT).read_text("utf-8")))
        words = "the stored one" if apart == 0 else f"apart from the stored one by {apart:.1g}"
        print(f"{folder.name}: report {words}; {'; '.join(told) or 'code as locked, or recorded as equal'}")
        failed, changed = failed or apart > LARGEST, changed or bool(told)
        if given.record and not failed:
            record(lineage, read_lock(folder / LOCK).analysis_meanings(), code)
    made, rows = from_history(lineage["files"])
    print(f"{made} of {rows} meanings of files made again from git's history")
    if given.record and not failed:
        LINEAGE.write_text(json.dumps(lineage, indent=1) + "\n", encoding="utf-8")
        print(f"recorded in {LINEAGE}" if changed else "nothing to record")
        return 0
    return 1 if failed or changed else 0


def _holds(commit: str, name: str) -> bool:
    return bool(_git("ls-tree", commit, "--", name))


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
