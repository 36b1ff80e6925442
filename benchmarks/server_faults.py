"""60 server faults, each once, always and in a tenth of the requests: what becomes of an evaluation.

Each run is of 40 tasks against a server of our own, and is then finished by the same command against the
server in order. Nothing may be lost, doubled or altered, the exit code and the one line must be right, and
the metrics of the finished run those of an undisturbed one. Besides, each fault hits a tenth of the tasks
whenever they are asked: these are named, and left out with --allow-missing.

Example: python benchmarks/server_faults.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.engines.faulty_server import Script  # noqa: E402
from tests.engines.ranking_server import Ranking, task_of, write_tasks  # noqa: E402
from tests.engines.server_faults import FAULTS, ServerFault  # noqa: E402

TASKS = 40
POISON = frozenset(f"t{number}" for number in range(3, TASKS, 10))
MODES = ("once", "always", "10 %")
TASKS_ALWAYS = "a tenth of the tasks"
EXIT = {
    "passing": {"once": 0, "always": 3, "10 %": 0, TASKS_ALWAYS: 3},
    "own": {"once": 3, "always": 2, "10 %": 3, TASKS_ALWAYS: 3},
    "all": {"once": 3, "always": 2, "10 %": 3, TASKS_ALWAYS: 3},
    "pause": {"once": 3, "always": 3, "10 %": 3, TASKS_ALWAYS: 3},
    "fine": {"once": 0, "always": 0, "10 %": 0, TASKS_ALWAYS: 0},
}


def script_of(server: Ranking, fault: ServerFault, mode: str) -> Script:
    """What the server does with its n-th request."""

    def struck(number: int, body: dict[str, Any]) -> bool:
        if mode == TASKS_ALWAYS:
            return task_of(body) in POISON
        return {"once": number == 2, "always": True, "10 %": number % 10 == 5}[mode]

    return lambda number, body: fault.made(server.answer(body)) if struck(number, body) else None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: exit code, and what it printed on stderr."""

    code: int
    errors: str

    def problems(self, expected: int) -> Iterator[str]:
        if self.code != expected:
            yield f"exit {self.code} instead of {expected}: {self.errors.strip().splitlines()[-1:]}"
        lines = [line for line in self.errors.splitlines() if line.startswith("harness: error: ")]
        if "Traceback" in self.errors or "internal:" in self.errors:
            yield f"a traceback or a bug: {self.errors[-2000:]}"
        if len(lines) != (self.code != 0):
            yield f"{len(lines)} lines of error"


def harness(*arguments: str) -> Ended:
    """Run a command in this process."""
    from harness.cli import main

    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        code = main(list(arguments))
    return Ended(code, errors.getvalue())


def samples_of(out: Path) -> dict[str, str]:
    """task → text; raises where a task is there twice."""
    path = out / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    texts = {row["task_id"]: row["text"] for row in rows}
    if len(texts) != len(rows):
        raise ValueError("a sample is there twice")
    return texts


def metrics_of(out: Path) -> dict[str, Any]:
    metrics = json.loads((out / "metrics.json").read_text())
    return {name: value for name, value in metrics.items() if name not in ("source", "seal")}


@dataclass(frozen=True, slots=True)
class Undisturbed:
    texts: dict[str, str]
    metrics: dict[str, Any]


def check(fault: ServerFault, modes: tuple[str, ...], version: str | None) -> list[str]:
    """What is wrong, a line a mode; empty lines where nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        data = write_tasks(place / "tasks.jsonl", TASKS)
        server = Ranking(lambda *_: None, version=version)
        try:
            whole = _undisturbed(server, data, place / "whole")
            return [_check_mode(fault, mode, server, data, place / mode, whole) for mode in modes]
        finally:
            server.close()


def _command(server: Ranking, data: Path, out: Path, fault: ServerFault | None) -> list[str]:
    seconds = 60.0 if fault is None else fault.request_seconds
    limits = ["--retry-seconds", "2", "--request-tries", "3", "--request-seconds", str(seconds)]
    where = ["--base-url", server.url, "--data", str(data), "--out", str(out), "--concurrency", "4"]
    return ["eval", "--engine", "openai", *where, *limits, "--json"]


def _undisturbed(server: Ranking, data: Path, out: Path) -> Undisturbed:
    ended = harness(*_command(server, data, out, None))
    assert ended.code == 0, ended
    return Undisturbed(samples_of(out), metrics_of(out))


def _check_mode(
    fault: ServerFault, mode: str, server: Ranking, data: Path, out: Path, whole: Undisturbed
) -> str:
    command = _command(server, data, out, fault)
    server.bodies.clear()
    server.script = script_of(server, fault, mode)
    expected = EXIT[fault.kind][mode]
    try:
        ended = harness(*command)
        problems = [*ended.problems(expected), *_altered(out, whole, ended.code)]
        if mode == TASKS_ALWAYS and fault.kind in ("passing", "own", "all"):
            problems += _without(command, out, ended, whole)
        server.script = lambda *_: None
        ended = harness(*command)
        problems += [f"in order again: {one}" for one in ended.problems(0)]
        problems += [f"in order again: {one}" for one in _altered(out, whole, ended.code)]
    except Exception as error:
        problems = [f"{type(error).__name__}: {error}"]
    return "; ".join(problems)


def _altered(out: Path, whole: Undisturbed, code: int) -> Iterator[str]:
    texts = samples_of(out)
    if any(whole.texts[task] != text for task, text in texts.items()):
        yield "another text"
    if code == 0 and (len(texts) != TASKS or metrics_of(out) != whole.metrics):
        yield f"{len(texts)} samples, or other metrics"


def _without(command: list[str], out: Path, ended: Ended, whole: Undisturbed) -> Iterator[str]:
    """A tenth of the tasks can't be had: they are named, and can be left out."""
    line = ended.errors.strip().splitlines()[-1]
    if f"--allow-missing {len(POISON)}" not in line or not all(task in line for task in POISON):
        yield f"not named: {line}"
    yield from (f"one too few allowed: {one}" for one in _again(command, len(POISON) - 1).problems(3))
    yield from (f"left out: {one}" for one in _again(command, len(POISON)).problems(0))
    missing = {one["task_id"] for one in json.loads((out / "manifest.json").read_text())["missing"]}
    there, n = samples_of(out), metrics_of(out)["parse_validity.strict"]["n"]
    if missing != POISON or set(there) != set(whole.texts) - POISON or n != TASKS - len(POISON):
        yield f"{len(there)} samples, n = {n}, missing {sorted(missing)}"


def _again(command: list[str], allowed: int) -> Ended:
    return harness(*command, "--allow-missing", str(allowed))


def check_one(number: int) -> list[str]:
    """The problems of a fault, a line a mode; every other one meets a server that tokenizes like vLLM's."""
    return check(FAULTS[number], (*MODES, TASKS_ALWAYS), version="0.11.0" if number % 2 else None)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--only", default="", help="part of a fault's name")
    arguments = parser.parse_args()
    numbers = [number for number, fault in enumerate(FAULTS) if arguments.only in fault.name]
    modes = (*MODES, TASKS_ALWAYS)
    print(f"{'exit codes':36} {'what it says of':16}" + "".join(f"{mode:>8}" for mode in MODES), TASKS_ALWAYS)
    good = left_out = 0
    wrong = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for number, found in zip(numbers, pool.map(check_one, numbers), strict=True):
            fault = FAULTS[number]
            of_modes = dict(zip(modes, found, strict=True))
            cells = ["WRONG" if one else str(EXIT[fault.kind][mode]) for mode, one in of_modes.items()]
            row = "".join(f"{cell:>8}" for cell in cells)
            print(f"{fault.name[:36]:36} {fault.kind:16}{row}", flush=True)
            wrong += [f"{fault.name}, {mode}: {one}" for mode, one in of_modes.items() if one]
            good += sum(not of_modes[mode] for mode in MODES)
            left_out += not of_modes[TASKS_ALWAYS]
    for one in wrong:
        print(one)
    print(f"{left_out} of {len(numbers)} as promised where {TASKS_ALWAYS} always meets the fault")
    print(f"{good} of {len(MODES) * len(numbers)} as promised")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
