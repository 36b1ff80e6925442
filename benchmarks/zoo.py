"""Rebuild the zoo from scratch on the CPU: time, hash and metrics of each member.

Examples:
    python benchmarks/zoo.py                       all members, into a temporary folder
    python benchmarks/zoo.py --check               the same, compared with the cards; exit code 1 on a miss
    python benchmarks/zoo.py teacher --out FOLDER  one; distilled from those in FOLDER, or else shipped
    python benchmarks/zoo.py --seed-offset 1       the same recipes with other seeds
    python benchmarks/zoo.py --install             replace harness/zoo by what was built
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from harness.cli.listening import listening
from harness.engines.zoo import zoo_root
from tools.zoo.card import (
    COMPARED,
    MemberRecord,
    differences,
    measure_member,
    read_record,
    write_record,
)
from tools.zoo.members import MEMBERS, SHIPPED, build_member


def build(name: str, root: Path, seed_offset: int) -> MemberRecord:
    started = time.monotonic()
    with listening(Console(stderr=True)) as on_progress:
        folder = build_member(name, root, on_progress, seed_offset)
        record = measure_member(name, folder, time.monotonic() - started, on_progress)
    write_record(folder, record)
    return record


def show(record: MemberRecord) -> None:
    print(f"{record.name}: {record.parameters:,} parameters, trained in {record.seconds:.0f} s")
    print(f"  sha256 {record.weights_sha256}")
    for label, metrics in (("greedy", record.greedy), ("T = 1", record.sampled)):
        cells = [
            f"{metric} {value.estimate:.3f} ({value.low:.3f} … {value.high:.3f}, n {value.n})"
            for metric in COMPARED
            if (value := metrics[metric]).estimate is not None
        ]
        failures = [
            f"{metric.removeprefix('failure_rate.')} {value.estimate:.3f}"
            for metric, value in metrics.items()
            if metric.startswith("failure_rate.")
        ]
        print(f"  {label:6} {', '.join(cells)}; failures: {', '.join(failures) or 'none'}", flush=True)


def compare(record: MemberRecord) -> bool:
    shipped = read_record(zoo_root() / record.name)
    if record.weights_sha256 == shipped.weights_sha256:
        print("  check: the same weights as shipped")
        return True
    found = differences(shipped, record)
    print(f"  check: other weights; {'; '.join(found) or 'metrics within the noise of the seed'}")
    return not found


def install(name: str, root: Path) -> None:
    target = zoo_root() / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in (*SHIPPED, "train.json", "README.md"):
        shutil.copyfile(root / name / file, target / file)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEMBERS)}; all by default")
    parser.add_argument("--out", type=Path, help="folder that keeps what is built")
    parser.add_argument("--seed-offset", type=int, default=0)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--json", type=Path, help="file for greedy estimates by member and metric")
    given = parser.parse_args()
    started = time.monotonic()
    good = True
    greedy: dict[str, dict[str, float | None]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = given.out or Path(scratch)
        for name in [name for name in MEMBERS if not given.names or name in given.names]:
            record = build(name, root, given.seed_offset)
            show(record)
            greedy[name] = {metric: record.greedy[metric].estimate for metric in COMPARED}
            good &= compare(record) if given.check else True
            if given.install:
                install(name, root)
    if given.json is not None:
        given.json.write_text(json.dumps(greedy, indent=2) + "\n", encoding="utf-8")
    print(f"{time.monotonic() - started:.0f} s in all")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
