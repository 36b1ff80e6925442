"""What the inputs that went wrong give now: gates, servers, checkpoints and rubric files, one a line.

The cases lie outside this repository, in `cases/` of the folder that HARNESS_SHARED names (`../shared` where
it isn't set): small inputs and a server that misbehaves in one way at a time. Without them nothing is run.

Run: python benchmarks/cases.py [--only WORD] [--case WORD] [--vllm]
  --vllm  checkpoints on vLLM too, half a minute each that loads

Each line: the input, the exit code, the line that says what came out. Ends with exit code 1 where a case ends
in a traceback, hangs, shows a key, or ends with a code of another meaning (1 but for a failed gate, 5).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from harness.engines.zoo import zoo_root

ROOT = Path(__file__).parents[1]
CASES = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared")) / "cases"
PATIENCE = 60.0
"""Seconds that a case may take; each says what it has to say within a few."""
HUNG = 124
CHECKPOINTS = (
    "weights_prefixed",
    "weights_one_missing",
    "adapter_prefixed",
    "two_weight_sets",
    "head_saved_twice",
    "weights_nan",
    "wrong_stop_token",
    "template_raises",
    "template_no_default",
    "template_today",
    "template_content_parts",
)
_FEW, _PAIR = ("--limit", "4"), ("--lambda", "1.2", "--clip", "2")
_TRAINED = ("--steps", "1", "--batch-size", "4", "--lr", "1e-4", "--device", "cpu", *_FEW)
_STUDENT = ("--teacher", "zoo:teacher", "--base", "zoo:base", "--student", "@")
_TEACHER = ("--teacher", "@", "--base", "zoo:base")
JOBS: dict[str, tuple[str, ...]] = {
    "eval": ("eval", "--ckpt", "@", *_FEW),
    "live gate": ("gate", "--ckpt", "@", "--max-tasks", "4"),
    "cliff teacher": ("cliff", *_TEACHER, *_PAIR, *_FEW),
    "cliff student": ("cliff", *_STUDENT, *_PAIR, *_FEW),
    "train sft": ("train", "sft", "--ckpt", "@", *_TRAINED),
    "train opd teacher": ("train", "opd", *_TEACHER, "--lambda", "1.2", *_TRAINED),
}
"""What loads a checkpoint; `@` stands for its folder."""
ENGINE_JOBS = {"eval", "live gate", "cliff teacher", "cliff student"}
CALLS = """
import contextlib, io, json, sys
from harness.cli import main
for name, arguments in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code or 0
    print(json.dumps({"name": name, "code": code, "out": out.getvalue(), "err": err.getvalue()}), flush=True)
"""
MODES = (
    "error200",
    "html200",
    "bad_gzip",
    "usage_nan",
    "parts",
    "content_filter",
    "max_tokens",
    "drip",
    "secret_error",
    "llamacpp",
)
KEY = "sk-case-0123456789-secret"
TELLING = re.compile(r"^(harness: error: .*|parse_validity\.strict .*|withheld.*|truncation_rate .*)$")
DRIP = """
import sys
from pathlib import Path
from harness.cli.ending import end
from harness.engines.config import EngineConfig
from harness.evaluate import EvalConfig, evaluate
try:
    engine = EngineConfig(engine="openai", base_urls=(sys.argv[1],), request_seconds=2.0, retry_seconds=5.0)
    evaluate(EvalConfig(engine=engine, limit=2, out=Path(sys.argv[2])))
except Exception as error:
    sys.exit(end(error, False, str))
"""


@dataclass(frozen=True)
class Outcome:
    """What a case gave.

    Attributes:
        name: the input.
        says: what came out, in a line.
        code: exit code, `HUNG` where it had to be ended.
        wrong: what no case may end in, empty where it didn't.
    """

    name: str
    says: str
    code: int
    wrong: str = ""


def ran(*arguments: str, folder: Path, patience: float = PATIENCE) -> tuple[str, str, int]:
    """Standard output, standard error and exit code of a Python process."""
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": KEY, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"ended after {patience:g} seconds", HUNG
    return done.stdout, done.stderr, done.returncode


def outcome(name: str, out: str, err: str, code: int, *, may_fail: bool = False) -> Outcome:
    """The telling lines of a process, and what is wrong with how it ended."""
    lines = [line.strip() for line in (*err.splitlines(), *out.splitlines()) if line.strip()]
    telling = [line for line in lines if TELLING.match(line)] or lines[-1:] or ["(nothing)"]
    wrong = "traceback" if "Traceback" in err else "a hang" if code == HUNG else ""
    if not wrong and code not in ({0, 1, 2, 3, 4} if may_fail else {0, 2, 3, 4}):
        wrong = f"exit code {code}"
    if KEY in out or KEY in err:
        wrong = "the key is printed"
    return Outcome(name, "; ".join(" ".join(line.split()) for line in telling), code, wrong)


def gates(folder: Path) -> Iterator[Outcome]:
    """Rules whose verdicts were wrong."""
    for name in ("b500", "c500", "d500"):
        text = gzip.decompress((CASES / "gate" / f"{name}.jsonl.gz").read_bytes())
        (folder / f"{name}.jsonl").write_bytes(text)
    runs = {"r60": CASES / "gate" / "d60.jsonl", "b500": folder / "d500.jsonl", "c500": folder / "d500.jsonl"}
    for name, data in runs.items():
        answers = CASES / "gate" / "r60.jsonl" if name == "r60" else folder / f"{name}.jsonl"
        ran(
            "-m",
            "harness",
            "eval",
            "--data",
            str(data),
            "--replay",
            str(answers),
            "--out",
            name,
            folder=folder,
        )
    rules = {
        "r60": ["ndcg_at_1.all >= 0.95", "parse_validity.strict >= 0.95"],
        "c500": [
            "ndcg_at_1.parsed >= baseline - 0.02",
            "ndcg_at_1.parsed >= baseline - 0.02 common",
            "ndcg_at_1.all >= baseline - 0.02",
        ],
    }
    for run, rule in ((run, rule) for run, some in rules.items() for rule in some):
        policy = folder / "gate.yaml"
        policy.write_text(yaml.safe_dump({"rules": [rule]}))
        against = ["--baseline", "b500"] if "baseline" in rule else []
        options = ["--policy", str(policy), "--no-record", "--json", *against]
        out, err, code = ran("-m", "harness", "gate", run, *options, folder=folder)
        name = f"gate/{run}: {rule}"
        if not out:
            yield outcome(name, out, err, code, may_fail=True)
            continue
        (found,) = json.loads(out)["rules"]
        estimate = found["estimate"]
        ends = f"{estimate['low']:.4f} … {estimate['high']:.4f}"
        wrong = "" if 0.0 <= estimate["high"] <= 1.0 or against else "an interval beyond 1"
        yield Outcome(name, f"{found['verdict']}, {ends}: {found['why']}", code, wrong)


@contextmanager
def server(mode: str) -> Iterator[str]:
    """The address of a server that misbehaves in this way."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(CASES / "server.py"), str(port), mode]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def servers(folder: Path) -> Iterator[Outcome]:
    """An evaluation against a server that misbehaves."""
    for mode in MODES:
        with server(mode) as url:
            if mode == "drip":
                arguments = ["-c", DRIP, url, mode]
            else:
                arguments = ["-m", "harness", "eval", "--engine", "openai", "--base-url", url]
                arguments += ["--limit", "2", "--retry-seconds", "3", "--out", mode]
            start = time.monotonic()
            found = outcome(f"server {mode}", *ran(*arguments, folder=folder))
        codes = _codes(folder / mode / "samples.jsonl")
        seconds = f"; {time.monotonic() - start:.0f} s" if mode == "drip" else ""
        yield Outcome(found.name, f"{found.says}{codes}{seconds}", found.code, found.wrong)


def _codes(samples: Path) -> str:
    if not samples.exists():
        return ""
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    said = sorted({f"{(row['parse'] or {}).get('code')} ({row['finish_reason']})" for row in rows})
    return f"; samples: {', '.join(said)}" if said else ""


def checkpoints(folder: Path, engines: Sequence[str] = ("hf",), word: str = "") -> Iterator[Outcome]:
    """Checkpoint folders as people have them, in every place that loads one."""
    for case in (name for name in CHECKPOINTS if word in name):
        made = folder / case
        maker = (str(CASES / "make_checkpoint.py"), case, str(made), str(zoo_root()))
        out, err, code = ran(*maker, folder=folder)
        if code:
            yield outcome(f"{case}: can't be made", out, err, code)
            continue
        calls = {
            f"{engine}, {job}": [
                *(str(made) if word == "@" else word for word in arguments),
                *(("--engine", engine) if job in ENGINE_JOBS else ()),
                *("--out", str(folder / f"{case}-{engine}-{number}")),
            ]
            for engine in engines
            for number, (job, arguments) in enumerate(JOBS.items())
            if engine == "hf" or job in ENGINE_JOBS
        }
        script = ("-c", CALLS, json.dumps(calls))
        said, errors, code = ran(*script, folder=folder, patience=PATIENCE * len(calls) * 2)
        found = {row["name"]: row for row in map(json.loads, said.splitlines())}
        for name in calls:
            if (row := found.get(name)) is None:
                yield outcome(f"{case} ({name})", said, errors, code)
                continue
            told = (row["out"], row["err"], row["code"])
            yield outcome(f"{case} ({name})", *told, may_fail="gate" in name)


def rubrics(folder: Path) -> Iterator[Outcome]:
    """Checks of rubric files that ask for too much."""
    for path in sorted((CASES / "rubrics").glob("*.yaml")):
        out, err, code = ran("-m", "harness", "judge", "--lint", str(path), folder=folder)
        found = outcome(f"rubrics/{path.name}", out, err, code)
        yield Outcome(
            found.name, out.strip().splitlines()[0] if out.strip() else found.says, code, found.wrong
        )


def main() -> int:
    """Run the cases and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="groups that hold this word: gates, servers, …")
    parser.add_argument("--case", default="", help="checkpoints whose name holds this word")
    parser.add_argument("--vllm", action="store_true", help="checkpoints on vLLM too")
    given = parser.parse_args()
    only = given.only
    if not CASES.is_dir():
        print(f"skipped: {CASES} isn't there; set HARNESS_SHARED to the folder that holds cases/")
        return 0
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        engines = ("hf", "vllm") if given.vllm else ("hf",)
        groups: dict[str, Callable[[Path], Iterator[Outcome]]] = {
            "gates": gates,
            "servers": servers,
            "checkpoints": partial(checkpoints, engines=engines, word=given.case),
            "rubrics": rubrics,
        }
        for name, group in groups.items():
            if only not in name:
                continue
            for one in group(Path(folder)):
                mark = f" [WRONG: {one.wrong}]" if one.wrong else ""
                print(f"{one.name} → {one.code}: {one.says}{mark}", flush=True)
                wrong += bool(one.wrong)
    print(f"{wrong} cases end as none may")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
