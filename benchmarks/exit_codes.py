"""What every command ends with when one of its seams breaks: a table of exit codes.

A seam is a function of ours behind which something can go wrong: reading, rendering, an engine, a judge, a
write. Each in turn is made to raise a bug (RuntimeError), and what the operating system says of a full disk,
a read-only file system and a missing permission. 1 means that a gate failed, so it stands nowhere in the
table.

Run: python benchmarks/exit_codes.py [--without-models] [--json]
tests/cli/test_exit_codes.py asserts what is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from xml.etree import ElementTree as Xml

from harness.cli import main
from harness.data.fashion_mini import generate_tasks
from harness.data.writing import write_tasks
from harness.engines.config import EngineConfig
from harness.evaluate import EvalConfig, evaluate

RUBRIC = "listwise-relevance"
TASKS = 12

FAULTS: dict[str, Callable[[], Exception]] = {
    "bug": lambda: RuntimeError("a bug"),
    "disk full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/file"),
    "read-only": lambda: OSError(errno.EROFS, os.strerror(errno.EROFS), "a/file"),
    "denied": lambda: PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a/file"),
}
ALLOWED = {"bug": {5}, "disk full": {2, 3}, "read-only": {2, 3}, "denied": {2, 3}}


@dataclass(frozen=True)
class World:
    """What the commands are called on; every call has a folder of its own."""

    folder: Path

    @classmethod
    def build(cls, folder: Path) -> World:
        """Tasks, recorded answers of which some don't parse, and the run they give."""
        tasks = generate_tasks("train", TASKS, seed=1)
        write_tasks(folder / "tasks.jsonl", tasks)
        rows = (
            {
                "task_id": task.task_id,
                "text": json.dumps({"ranking": [*range(1, task.k + 1)]}) if number % 4 else "no",
            }
            for number, task in enumerate(tasks)
        )
        (folder / "outputs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        (folder / "gate.yaml").write_text("rules: ['parse_validity.strict >= 0.1']\n")
        plan = {"teacher": "zoo:teacher", "base": "zoo:base", "seeds": [0, 1, 2], "evaluation": {"limit": 1}}
        arm = {"name": "arm", "clip": 1.5, "lambdas": [1.0, 2.0], "steps": 1}
        (folder / "plan.yaml").write_text(json.dumps({**plan, "arms": [arm]}))
        engine = EngineConfig(engine="replay", replay=folder / "outputs.jsonl")
        evaluate(EvalConfig(engine=engine, data=str(folder / "tasks.jsonl"), out=folder / "run"))
        return cls(folder)

    def copy(self, folder: Path) -> World:
        """The same files in another folder, which doesn't exist yet."""
        shutil.copytree(self.folder, folder)
        return World(folder)

    def path(self, name: str) -> Path:
        """A file of it, or one to come."""
        return self.folder / name


_REPLAYED = "--engine replay --replay @outputs.jsonl --data @tasks.jsonl"
_REPORTS = "--policy @gate.yaml --junit @junit.xml --summary @summary.md"
_PAIR = "--teacher zoo:teacher --base zoo:base --lambda 1.1 --clip 5"
_TRAINING = "--steps 2 --batch-size 4 --lr 1e-4 --limit 4 --device cpu"
COMMANDS = {
    "eval": f"eval {_REPLAYED} --out @new",
    "rescore": "rescore @run",
    "judge": f"judge @run --rubric {RUBRIC} --cache @judge.sqlite",
    "gate RUN": f"gate {_REPORTS} @run",
    "gate live": f"gate {_REPORTS} {_REPLAYED} --out @new",
    "report": "report @run -o @report.html",
    "data list": "data list",
    "data check": "data check @tasks.jsonl",
    "data generate": "data generate fashion-mini --split test --n 2 --out @made",
    "data prepare": "data prepare amazon-fashion --reviews @tasks.jsonl --meta @tasks.jsonl --out @made",
    "doctor": "doctor",
    "prereg check": "prereg check @sweep",
    "prereg lock": "prereg lock @plan.yaml --out @sweep",
    "sweep": "sweep @plan.yaml --out @sweep",
    "cliff": f"cliff {_PAIR} --engine hf --limit 2 --max-tokens 8 --out @cliff",
    "train sft": f"train sft --ckpt zoo:base {_TRAINING} --out @sft",
    "train opd": f"train opd {_PAIR} {_TRAINING} --max-tokens 8 --checkpoint-every 1 --out @opd",
    "demo": "demo --out @demo",
}
"""What is called; `@` stands for the world's folder."""


@dataclass(frozen=True)
class Seam:
    """A place at which a command can break.

    Attributes:
        command: of `COMMANDS`.
        name: in the table.
        target: `module:attribute` of the function that raises; the judge's client has one of its own.
        reports: whether a gate can still write its reports.
    """

    command: str
    name: str
    target: str
    reports: bool = True

    @property
    def loads_models(self) -> bool:
        """Whether it takes torch and the zoo to get there."""
        return self.command in {"prereg lock", "sweep", "cliff", "train sft", "train opd", "demo"}

    @contextlib.contextmanager
    def broken(self, error: Exception) -> Iterator[mock.Mock]:
        """Let the seam raise; yields what it is replaced by."""
        if self.target == "client":
            ask = mock.Mock(side_effect=error)
            client = SimpleNamespace(name="broken", version="0", ask=ask, close=lambda: None)
            with mock.patch("harness.judge.job.open_client", return_value=client):
                yield ask
            return
        module, _, path = self.target.partition(":")
        owner: Any = importlib.import_module(module)
        *parents, last = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        with mock.patch.object(owner, last, side_effect=error) as replaced:
            yield replaced


_WRITING = (
    ("samples append", "harness.files:LineLog.append"),
    ("metrics write", "harness.runs.writing:RunDirectory.write_metrics"),
    ("manifest write", "harness.runs.writing:RunDirectory.write_manifest"),
    ("any file's last step", "harness.files:move"),
)
_DRAWING = (
    ("dataset read", "harness.evaluate.job:load_tasks"),
    ("template", "harness.data.conversations:render_prompt"),
    ("engine open", "harness.evaluate.job:open_engine"),
    ("engine generate", "harness.engines.replay:ReplayEngine.generate"),
    ("parse and score", "harness.evaluate.scoring:TaskScorer.__call__"),
    ("metrics", "harness.evaluate.job:summarise_run"),
    *_WRITING,
)
_GATING = (
    ("policy read", "harness.cli.gate:load_policy"),
    ("gate.json write", "harness.cli.gate:write_record"),
    ("junit", "harness.cli.gate:junit"),
    ("summary", "harness.cli.gate:summary"),
    ("job summary", "harness.cli.gate:append_job_summary"),
    ("printing", "harness.cli.gate:print_gate"),
)
_SEAMS: dict[str, tuple[tuple[str, str], ...]] = {
    "eval": (*_DRAWING, ("printing", "harness.cli.summary:print_run")),
    "rescore": (
        ("manifest read", "harness.evaluate.scoring:read_manifest"),
        ("tasks read", "harness.runs.loading:read_tasks"),
        ("parse and score", "harness.evaluate.scoring:TaskScorer.__call__"),
        ("samples write", "harness.runs.writing:RunDirectory.replace_samples"),
        ("metrics", "harness.evaluate.scoring:summarise_run"),
        *_WRITING[1:],
        ("judgements read", "harness.judge.judged:read_records"),
    ),
    "judge": (
        ("rubric read", "harness.cli.judge:load_rubric"),
        ("run read", "harness.judge.plan:load"),
        ("store open", "harness.judge.job:Store"),
        ("store write", "harness.judge.store:Store.send"),
        ("client open", "harness.judge.job:open_client"),
        ("client", "client"),
        ("question", "harness.judge.plan:Plan.question"),
        ("judgement append", "harness.files:LineLog.append"),
        ("metrics", "harness.judge.job:merge_rubric_metrics"),
    ),
    "gate RUN": (
        ("run read", "harness.cli.gate:open_run"),
        ("decide", "harness.cli.gate:decide"),
        *_GATING,
    ),
    "gate live": (
        *(one for one in _DRAWING if one[0] not in {"metrics", "metrics write"}),
        ("sequential test", "harness.gate.live:LiveGate.enough"),
        ("verdict", "harness.gate.live:LiveGate.result"),
        *_GATING,
    ),
    "report": (
        ("runs read", "harness.report.job:gather"),
        ("render", "harness.report.page:render"),
        ("report write", "harness.files:write_bytes"),
    ),
    "data list": (("datasets found", "harness.data.locate:known_datasets"),),
    "data check": (("rows read", "harness.data.loading:check_tasks"),),
    "data generate": (("tasks", "harness.data.fashion_mini_files:generate_tasks"), _WRITING[-1]),
    "data prepare": (("index", "harness.data.amazon:ReviewIndex"),),
    "doctor": (("examination", "harness.cli.doctor:examine"),),
    "prereg check": (("lock read", "harness.sweep.prereg.check:read_lock"),),
    "prereg lock": (
        ("plan read", "harness.sweep.plan:read_plan"),
        ("evaluation", "harness.sweep.prereg.lock:evaluate"),
    ),
    "sweep": (
        ("plan read", "harness.sweep.plan:read_plan"),
        ("record write", "harness.sweep.job:write_json"),
        ("base", "harness.sweep.work:evaluate_base"),
        ("rollouts", "harness.sweep.work:prepare_rollouts"),
    ),
    "cliff": (
        ("vocabulary read", "harness.measure.placing:read_vocabulary"),
        ("engine generate", "harness.engines.hf_engine:HfEngine.generate"),
        ("engine score", "harness.measure.scoring:score_classes"),
        ("scores append", "harness.measure.score_log:ScoreLog.append"),
        ("cliff.json write", "harness.runs.writing:RunDirectory.write_cliff"),
    ),
    "train sft": (
        ("checkpoint read", "harness.opd.sft.job:find_whole"),
        ("dataset read", "harness.opd.sft.job:load_tasks"),
        ("step", "harness.opd.sft.training:train"),
        ("checkpoint write", "harness.opd.sft.training:save_model"),
    ),
    "train opd": (
        ("checkpoints read", "harness.opd.loop.job:Checkpoints"),
        ("dataset read", "harness.opd.loop.job:load_dataset"),
        ("manifest write", "harness.opd.loop.folder:RunFolder.update"),
        ("drawing", "harness.opd.rounds.making:Rounds.draw"),
        ("step", "harness.opd.loop.update:StudentUpdates.update"),
        ("log append", "harness.files:LineLog.append"),
        ("state write", "harness.opd.loop.guard:LambdaGuard.save"),
        ("checkpoint write", "harness.opd.rounds.making:Rounds.save_student"),
    ),
    "demo": (("evaluation", "harness.demo:evaluate"), ("report write", "harness.demo:write_document")),
}
SEAMS = tuple(
    Seam(command, name, target, reports=target not in {"harness.files:move", "harness.files:write_bytes"})
    for command, seams in _SEAMS.items()
    for name, target in seams
)


@dataclass(frozen=True)
class Outcome:
    """What a broken command left.

    Attributes:
        code: exit code.
        error: what it said on standard error.
        junit: whether a JUnit file with an error is there; None for what isn't a gate.
    """

    code: int
    error: str
    junit: bool | None


def outcome(seam: Seam, fault: str, world: World, folder: Path) -> Outcome:
    """Call a command with one of its seams broken.

    Args:
        seam: which.
        fault: of `FAULTS`.
        world: is copied.
        folder: for the copy; doesn't exist yet.
    """
    with seam.broken(FAULTS[fault]()) as replaced:
        found = call(COMMANDS[seam.command], world.copy(folder))
    if not replaced.called:
        raise RuntimeError(
            f"{seam} isn't a seam of the command: it was never reached ({found.error.strip()})"
        )
    return found


def call(command: str, world: World) -> Outcome:
    """Call a command in this process; `@` in it stands for the world's folder."""
    said, told = io.StringIO(), io.StringIO()
    environment = {"GEMINI_API_KEY": "no-key", "GITHUB_STEP_SUMMARY": str(world.path("job-summary.md"))}
    given = [
        str(world.path(word.removeprefix("@"))) if word.startswith("@") else word for word in command.split()
    ]
    with (
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(told),
    ):
        code = main(given)
    return Outcome(code, told.getvalue(), _junit(world) if given[0] == "gate" else None)


def _junit(world: World) -> bool:
    try:
        return Xml.parse(world.path("junit.xml")).find(".//testcase/error") is not None
    except FileNotFoundError:
        return False


def main_script() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--without-models", action="store_true", help="only what needs no torch")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "world").mkdir()
        world = World.build(Path(scratch) / "world")
        for seam in SEAMS:
            if options.without_models and seam.loads_models:
                continue
            found = {
                fault: outcome(seam, fault, world, Path(scratch) / f"{len(rows)}-{number}")
                for number, fault in enumerate(FAULTS)
            }
            codes = {fault: one.code for fault, one in found.items()}
            junit = all(one.junit for one in found.values()) if seam.command.startswith("gate") else None
            rows.append({"command": seam.command, "seam": seam.name, **codes, "junit": junit})
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    print(f"| command | seam | {' | '.join(FAULTS)} | JUnit error |\n|---|---|{'--:|' * len(FAULTS)}---|")
    for row in rows:
        told = {None: "", True: "yes", False: "no"}[row["junit"]]
        shown = " | ".join(str(row[fault]) for fault in FAULTS)
        print(f"| {row['command']} | {row['seam']} | {shown} | {told} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main_script())
