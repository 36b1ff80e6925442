"""A run killed at random moments and resumed gives the numbers of one that was never stopped."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli import main
from harness.data.loading import load_tasks
from harness.runs import load
from tests.forked import Forked

ROOT = Path(__file__).parents[2]
TASKS = 48
KILLS = 3


def command(checkpoint: Path, out: Path) -> list[str]:
    made = ["eval", "--ckpt", str(checkpoint), "--engine", "hf", "--json"]
    made += ["--data", "fashion-mini", "--limit", str(TASKS), "--max-tokens", "24", "--batch-size", "4"]
    return [*made, "--temperature", "1", "--out", str(out)]


def finished_lines(out: Path) -> int:
    path = out / "samples.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def start(checkpoint: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *command(checkpoint, out)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def stop_after(process: subprocess.Popen[bytes] | Forked, out: Path, lines: int, how: signal.Signals) -> None:
    """Send a signal once this many samples are on disk; polls, since the moment is the child's to reach."""
    while process.poll() is None and finished_lines(out) < lines:
        time.sleep(0.002)
    process.send_signal(how)
    process.wait()


@pytest.mark.model
def test_killed_runs_end_like_undisturbed_ones(tiny_qwen3: Path, tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert main(command(tiny_qwen3, calm)) == 0
    rng = random.Random(20)
    for _ in range(KILLS):
        before = finished_lines(killed)
        process = Forked(command(tiny_qwen3, killed), tmp_path / "said")
        stop_after(process, killed, before + rng.randint(1, TASKS // (2 * KILLS)), signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        # What a dying machine may leave behind: part of a line.
        with (killed / "samples.jsonl").open("ab") as file:
            file.write(b'{"key": "torn')
    assert finished_lines(killed) < TASKS
    assert main(command(tiny_qwen3, killed)) == 0
    assert (killed / "metrics.json").read_bytes() == (calm / "metrics.json").read_bytes()
    assert sorted((killed / "samples.jsonl").read_bytes().splitlines()) == sorted(
        (calm / "samples.jsonl").read_bytes().splitlines()
    )
    sessions = [load(one).manifest.sessions for one in (killed, calm)]
    assert [one.status for one in sessions[0]] == [*["killed"] * KILLS, "complete"]
    for count in ("generated", "prompt_tokens", "completion_tokens"):
        told = [sum(getattr(one, count) for one in each) for each in sessions]
        assert told[0] == told[1] > 0, count
    assert all(one.generated > 0 and one.generate_seconds is not None for one in sessions[0])


@pytest.mark.model
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(tiny_qwen3: Path, tmp_path: Path, how: signal.Signals) -> None:
    out = tmp_path / "run"
    if how == signal.SIGINT:
        process: subprocess.Popen[bytes] | Forked = start(tiny_qwen3, out)
    else:
        process = Forked(command(tiny_qwen3, out), tmp_path / "said")
    stop_after(process, out, 4, how)
    error = process.said.read_text() if isinstance(process, Forked) else process.communicate()[1].decode()
    assert process.returncode == 3
    assert "run the same command to go on" in error
    assert "Traceback" not in error
    assert '"status": "incomplete"' in (out / "manifest.json").read_text()
    assert not (out / "metrics.json").exists()


def test_the_split_is_large_enough() -> None:
    """The kills above must come before the end, or they would test nothing."""
    assert len(load_tasks("fashion-mini").tasks) >= TASKS
