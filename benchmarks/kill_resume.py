"""SIGKILL an evaluation at random moments, resume it each time, compare with an undisturbed run.

Example: python benchmarks/kill_resume.py --ckpt ~/smollm2 --engine hf --kills 5
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POLL = 0.01
# Share of the undisturbed time, after a session's first sample; small, so that the kills come before the end.
LATEST = 0.08


def command(arguments: argparse.Namespace, out: Path) -> list[str]:
    made = [sys.executable, "-m", "harness", "eval", "--ckpt", arguments.ckpt, "--engine", arguments.engine]
    made += ["--data", arguments.data, "--limit", str(arguments.limit), "--out", str(out), "--json"]
    made += ["--temperature", str(arguments.temperature), "--samples", str(arguments.samples)]
    return [*made, *arguments.more]


def lines(out: Path) -> int:
    path = out / "samples.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ckpt", required=True)
    parser.add_argument("--engine", default="hf")
    parser.add_argument("--data", default="fashion-mini")
    parser.add_argument("--limit", type=int, default=256)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("more", nargs="*", help="further options of harness eval, after --")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        calm, killed = Path(folder) / "calm", Path(folder) / "killed"
        began = time.monotonic()
        subprocess.run(command(arguments, calm), check=True, capture_output=True)
        whole = time.monotonic() - began
        print(f"undisturbed: {lines(calm)} samples in {whole:.1f} s")
        for number in range(arguments.kills):
            # A new session, so that the engine's own processes die with it as they would with a node.
            process = subprocess.Popen(
                command(arguments, killed),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            before = lines(killed)
            while process.poll() is None and lines(killed) == before:
                time.sleep(POLL)  # loading the model; a kill then would test little
            delay = rng.uniform(0.0, LATEST) * whole
            try:
                process.wait(timeout=delay)
                print(f"kill {number + 1}: it had ended after {lines(killed)} samples")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                print(
                    f"kill {number + 1}: SIGKILL {delay:4.1f} s after its first sample, {lines(killed)} lines"
                )
        subprocess.run(command(arguments, killed), check=True, capture_output=True)
        same_metrics = (calm / "metrics.json").read_bytes() == (killed / "metrics.json").read_bytes()
        same_samples = sorted((calm / "samples.jsonl").read_bytes().splitlines()) == sorted(
            (killed / "samples.jsonl").read_bytes().splitlines()
        )
        print(f"resumed to the end: {lines(killed)} samples")
        print(f"metrics.json equal: {same_metrics}; samples equal as sets: {same_samples}")
        sys.exit(0 if same_metrics and same_samples else 1)


if __name__ == "__main__":
    main()
