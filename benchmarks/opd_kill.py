"""SIGKILL a distillation at random moments, resume it each time, compare with an undisturbed run bit for bit.

Example: python benchmarks/opd_kill.py --teacher zoo:teacher --base zoo:base --kills 5 -- --staleness fixed
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

POLL = 0.002
CLOCK = ("seconds", "tokens_per_second")


def command(arguments: argparse.Namespace, out: Path) -> list[str]:
    made = [sys.executable, "-m", "harness", "train", "opd", "--resume", "--out", str(out)]
    made += ["--teacher", arguments.teacher, "--base", arguments.base, "--lambda", "1.2", "--clip", "1.5"]
    made += ["--steps", str(arguments.steps), "--batch-size", "32", "--lr", "5e-4", "--samples", "4"]
    made += ["--limit", "256", "--max-tokens", "48", "--checkpoint-every", str(arguments.checkpoint_every)]
    return [*made, *arguments.more]


def log(out: Path) -> list[dict[str, Any]]:
    """Readings of each step, without those of the clock."""
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]


def lines(out: Path) -> int:
    path = out / "train.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def weights(out: Path) -> str:
    return hashlib.sha256((out / "checkpoint" / "model.safetensors").read_bytes()).hexdigest()


def kill_once(arguments: argparse.Namespace, out: Path, rng: random.Random) -> int:
    """Start or resume, and kill after a random number of further steps; returns the steps logged by then."""
    process = subprocess.Popen(
        command(arguments, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = lines(out) + rng.randint(1, max(1, arguments.steps // (arguments.kills + 1)))
    while process.poll() is None and lines(out) < until:
        time.sleep(POLL)
    # Not always just after a line: also while a state or the next step is being made.
    time.sleep(rng.random() * 0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return lines(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--checkpoint-every", type=int, default=7)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("more", nargs="*", help="further options of harness train opd, after --")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        calm, killed = Path(folder) / "calm", Path(folder) / "killed"
        subprocess.run(command(arguments, calm), check=True, capture_output=True)
        print(f"undisturbed: {lines(calm)} steps, weights {weights(calm)[:16]}")
        for number in range(arguments.kills):
            print(f"kill {number + 1}: after {kill_once(arguments, killed, rng)} of {arguments.steps} steps")
        subprocess.run(command(arguments, killed), check=True, capture_output=True)
        sessions = len(json.loads((killed / "manifest.json").read_text())["sessions"])
        print(f"resumed: {lines(killed)} steps in {sessions} sessions, weights {weights(killed)[:16]}")
        equal, logs = weights(calm) == weights(killed), log(calm) == log(killed)
        print(f"weights equal bit for bit: {equal}; logs equal: {logs}")
        sys.exit(0 if equal and logs else 1)


if __name__ == "__main__":
    main()
