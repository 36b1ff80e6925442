"""Put what commands terminals and CI systems into all that comes from outside, and look at what is shown.

Run: python benchmarks/injections.py [--only WORD]

Each place (task ids, titles, attributes, answers, names of files, datasets, checkpoints and models, rules of
policies, rubrics, YAML keys, words of servers, exceptions, settings) gets one text with escape sequences, C1
controls, BEL, backspace, carriage return, marks that reorder or hide, a lone surrogate where one can be, and
lines that GitHub, Azure, GitLab, TeamCity and Travis obey. Every command that shows it runs twice: into a
pipe, and on a terminal of its own (a pty, colours on).

Each line: the place, the exit codes of its commands, `clean` or what was found raw. In a pipe no escape
sequence is allowed at all, on a terminal those of rich's colours and progress bars. Ends with `N of N clean`,
or exit code 1.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from harness.cli import consoles, eval, gate, judge, report  # noqa: F401  (imported before forks)
from harness.cli import main as main_of_harness
from tests.local_server import JSONHandler, LocalServer
from tests.resealing import change_document

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0
MARK = "INJ"
CONTROLS = (
    "\x1b[31m",
    "\x1b[2J",
    "\x1b]0;",
    "\x1b]8;;http://evil.example/\x1b\\",
    "\x1bP0;1|",
    "\x9b31m",
    "\x9d0;",
    "\x07",
    "\x08\x08",
    "\r",
    "\x0b",
    "\x0c",
    "\x7f",
    "\x85",
    "\u2028",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u200f",
    "\ufeff",
    "\U000e0041",
)
LINES = (
    "::error file=x::",
    "  ::add-mask::",
    "##[error]",
    "##vso[task.setvariable variable=x]",
    "##teamcity[testFailed name='x']",
    "section_start:1:x\r\x1b[0K",
    "travis_fold:start:x\r",
    "[link=file:///etc/passwd][bold red]",
)
SPOOF = "gate: PASS (exit code 0): spoofed"
NAME = "".join(f"{one}{MARK}" for one in CONTROLS[:14]) + "\n::error::" + MARK + " ##[error]" + MARK
"""As much of it as the name of a file may hold."""
TEXT = (
    "".join(f"{one}{MARK}" for one in CONTROLS)
    + "".join(f"\n{one}{MARK}" for one in LINES)
    + f"\n{SPOOF} 汉字 é 👍🏽"
)
NAME = NAME.replace("/", "")

_ESCAPE = re.compile(rb"\x1b")
_RICH = re.compile(rb"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[ABCDGHK]|\x1b\]8;[^\x1b]*\x1b\\(?!INJ)")
_COMMAND = re.compile(rb"(?m)^(?:\s|\xc2\xa0)*::|##(?:vso|teamcity)?\[")
_RAW = (
    *(one.encode("utf-8", "surrogatepass") for one in CONTROLS if not one.startswith(("\x1b", "\r"))),
    b"\xed\xa0\x80",
    b"\x1b[31mINJ",
)
Words = Sequence[str | Path]


def raw(shown: bytes, terminal: bool) -> list[str]:
    """What in the bytes that a command printed could command a terminal or a CI system."""
    found = [ascii(one) for one in _RAW if one in shown]
    words = _RICH.sub(b"", shown) if terminal else shown
    if at := _ESCAPE.search(words):
        found.append(f"ESC in {words[max(0, at.start() - 20) : at.start() + 40]!a}")
    words = re.sub(rb"\r+\n", b"\n", words) if terminal else words
    # A bar goes back to where its line began; what comes from outside mustn't.
    if (b"\r" in words and not terminal) or b"\rINJ" in shown:
        found.append("CR")
    found += [f"command {one[0]!a}" for one in [_COMMAND.search(words)] if one]
    found += ["a line of its own"] if re.search(rb"(?m)^\s*" + re.escape(SPOOF.encode()), words) else []
    return found


def printed(words: Words, folder: Path, terminal: bool) -> tuple[int, bytes]:
    """Exit code of a command (or of Python code, after `-c`), and what it printed on both streams.

    It runs in a fork of this process, which has imported the package already.
    """
    ours, theirs = pty.openpty() if terminal else os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _be_child([str(word) for word in words], folder, theirs)
    os.close(theirs)
    shown, end = b"", time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not select.select([ours], [], [], 1.0)[0]:
            continue
        try:
            part = os.read(ours, 65536)
        except OSError:  # A terminal that nobody holds any more.
            break
        if not part:
            break
        shown += part
    else:
        os.kill(child, signal.SIGKILL)
    os.close(ours)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown


def _be_child(words: list[str], folder: Path, descriptor: int) -> NoReturn:
    code = 5
    try:
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        os.chdir(folder)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100"}
        sys.argv = ["harness", *words]
        if words[0] == "-c":
            exec(words[1], {"__name__": "__main__"})
        else:
            code = main_of_harness(words)
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 5
    except BaseException:
        traceback.print_exc()
        code = 6
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@dataclass
class Place:
    """A case's folder and what has to run in it."""

    folder: Path
    run: Path
    server: Teller
    lines: list[tuple[str | Path, ...]] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)

    def harness(self, *words: str | Path) -> None:
        """A command of harness that is to be looked at."""
        self.lines.append(words)

    def python(self, code: str) -> None:
        """Python code whose output is to be looked at."""
        self.programs.append(code)

    def write(self, name: str, content: str) -> Path:
        """A file of the case's."""
        path = self.folder / name
        path.write_text(content, encoding="utf-8", errors="surrogatepass")
        return path

    def tasks(self, name: str = "tasks.jsonl", **changes: Any) -> Path:
        """A dataset of four rows, one changed."""
        rows = [
            {
                "task_id": f"t{number}",
                "history": [],
                "candidates": [{"item_id": f"i{number}-{one}", "title": f"Shirt {one}"} for one in range(3)],
                "relevance": [1, 0, 0],
            }
            for number in range(4)
        ]
        rows[0] |= changes
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def outputs(
        self, text: str = "no", task_id: str = "t0", name: str = "outputs.jsonl", **more: str
    ) -> Path:
        """Recorded outputs of those rows, the first with this text."""
        rows = [{"task_id": task_id, "text": text, **more}]
        rows += [{"task_id": f"t{n}", "text": '{"ranking": [1, 2, 3]}'} for n in range(1, 4)]
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def changed(self, change: Callable[[dict[str, Any]], Any], file: str = "manifest.json") -> Path:
        """A run with one of its documents changed and sealed again."""
        run = self.folder / "changed"
        shutil.copytree(self.run, run)
        change_document(run / file, change)
        return run


class Teller(LocalServer):
    """A server that says the text, where its mode tells."""

    def __init__(self) -> None:
        super().__init__(_Handler)


class _Handler(JSONHandler):
    server: Teller

    def do_GET(self) -> None:  # noqa: N802  (http.server's name)
        mode = self.server.mode
        if mode == "models-html":
            return self.send(200, TEXT)
        if self.path == "/version":
            return self.send(200 if mode == "version" else 404, {"version": TEXT})
        model = {"id": TEXT if mode == "name" else "m", "root": TEXT if mode == "root" else "m"}
        others = [{"id": f"other {TEXT}"}] if mode == "two-names" else []
        return self.send(200, {"data": [model, *others]})

    def do_POST(self) -> None:  # noqa: N802  (http.server's name)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        mode = self.server.mode
        if ":" in self.path:
            self.send(*_gemini(self.path, mode))
        elif mode in ("400", "500", "html") or self.path.endswith("/tokenize"):
            error = TEXT if mode == "html" else {"error": {"message": f"\ud800{TEXT}"}}
            self.send({"html": 200, "500": 500}.get(mode, 400), error)
        else:
            content = f"\ud800{TEXT}" if mode == "answer" else '{"ranking": [1, 2, 3]}'
            reason = TEXT if mode == "reason" else "stop"
            self.send(200, {"choices": [{"message": {"content": content}, "finish_reason": reason}]})


def _gemini(path: str, mode: str) -> tuple[int, object]:
    if ":countTokens" in path:
        return 200, {"totalTokens": 9}
    if mode == "gemini-error":
        return 400, {"error": {"code": 400, "message": TEXT, "status": TEXT}}
    content = {"parts": [{"text": TEXT}], "role": "model"}
    return 200, {"candidates": [{"content": content, "finishReason": TEXT}]}


Case = Callable[[Place], None]


def _reading(place: Place, run: str | Path) -> None:
    """Everything that reads a run."""
    place.harness("gate", run, "--no-record")
    place.harness("report", run, "-o", "page.html")
    place.harness("report", run, "--format", "md")


def _evaluated(place: Place, **given: Any) -> None:
    data, outputs = given.get("data") or place.tasks(), given.get("outputs") or place.outputs()
    place.harness("eval", "--replay", outputs, "--data", data, "--out", "run", *given.get("more", ()))


def answer(place: Place) -> None:
    _evaluated(place, outputs=place.outputs(text=TEXT))
    place.harness("rescore", "run")
    _reading(place, "run")


def surrogate(place: Place) -> None:
    _evaluated(place, outputs=place.outputs(text=f"\ud800{TEXT}"))
    place.harness("rescore", "run")
    _reading(place, "run")


def task_id(place: Place) -> None:
    _evaluated(place, data=place.tasks(task_id=TEXT), outputs=place.outputs(task_id=TEXT))
    place.harness("rescore", "run")
    _reading(place, "run")


def title(place: Place) -> None:
    items = [{"item_id": f"{TEXT}{one}", "title": TEXT, "attributes": {TEXT: TEXT}} for one in range(3)]
    data = place.tasks(candidates=items)
    place.harness("data", "check", data)
    _evaluated(place, data=data)
    _reading(place, "run")


def machine(place: Place) -> None:
    data = place.tasks(task_id=TEXT)
    place.harness("eval", "--replay", place.outputs(TEXT, TEXT), "--data", data, "--out", "run", "--json")
    place.harness("rescore", "run", "--json")
    place.harness("report", "run", "--format", "json")
    place.harness("report", "run", "-o", "x.html", "--json")
    place.harness("gate", "run", "--json")


def bad_row(changes: dict[str, Any]) -> Case:
    def case(place: Place) -> None:
        data = place.tasks(**changes)
        place.harness("data", "check", data)
        place.harness("data", "check", data, "--json")
        _evaluated(place, data=data, more=("--skip-bad-rows",))
        place.harness("eval", "--replay", place.outputs(), "--data", data, "--out", "two")

    return case


def doubled(place: Place) -> None:
    first = place.tasks(task_id=TEXT).read_text().splitlines()[0]
    data = place.write("double.jsonl", f"{first}\n{first}\n")
    place.harness("data", "check", data)
    place.harness(
        "train", "sft", "--ckpt", "zoo:base", "--out", "w", "--steps", "1", "--lr", "1e-4", "--data", data
    )


def missing(place: Place) -> None:
    _evaluated(place, data=place.tasks(task_id=TEXT))


def broken_outputs(place: Place) -> None:
    for number, row in enumerate(
        (f'{{"{TEXT}', json.dumps({TEXT: 1}), json.dumps({"task_id": TEXT, "text": 3}))
    ):
        outputs = place.write(f"o{number}.jsonl", row + "\n")
        place.harness("eval", "--replay", outputs, "--data", place.tasks(), "--out", f"run{number}")
    outputs = place.outputs(finish_reason=TEXT)
    place.harness("eval", "--replay", outputs, "--data", place.tasks(), "--out", "run")


def named(what: str) -> Case:
    """Files and folders with such a name."""

    def case(place: Place) -> None:
        if what == "dataset":
            place.tasks(f"{NAME}.jsonl")
            place.harness("eval", "--replay", place.outputs(), "--data", f"{NAME}.jsonl", "--out", "run")
            place.harness("data", "check", f"{NAME}.jsonl")
            place.harness("data", "check", f"no-{NAME}.jsonl")
            _reading(place, "run")
        elif what == "outputs":
            place.harness(
                "eval", "--replay", place.outputs(name=NAME), "--data", place.tasks(), "--out", "run"
            )
            place.harness(
                "gate", "--replay", place.outputs(name=NAME), "--data", place.tasks(), "--out", "live"
            )
            place.harness("eval", "--replay", f"no{NAME}", "--data", place.tasks())
        elif what == "run":
            shutil.copytree(place.run, place.folder / NAME)
            place.harness("rescore", NAME)
            place.harness("judge", NAME, "--rubric", "listwise-relevance", "--dry-run")
            _reading(place, NAME)
            place.harness("report", NAME, "-o", f"{NAME}.html")
        elif what == "no run":
            for command in ("rescore", "gate", "report"):
                place.harness(command, NAME)
            place.harness("report", place.run, "-o", f"{NAME}/{NAME}.html", "--baseline", NAME)
            place.harness("prereg", "check", NAME)
            place.harness("judge", NAME, "--rubric", NAME)
        elif what == "checkpoint":
            link = place.folder / NAME
            link.symlink_to(ROOT / "harness" / "zoo" / "none")
            place.harness("eval", "--ckpt", f"./{NAME}", "--engine", "hf", "--data", place.tasks())
            place.harness("eval", "--ckpt", f"zoo:{NAME}", "--data", place.tasks())
            place.harness("cliff", "--teacher", f"./{NAME}", "--base", NAME, "--lambda", "1.1", "--clip", "5")
            place.harness("forecast", "--teacher", NAME, "--base", NAME, "--out", "f")
            place.harness(
                "train",
                "opd",
                "--teacher",
                NAME,
                "--base",
                NAME,
                "--lambda",
                "1",
                "--clip",
                "5",
                "--steps",
                "1",
                "--lr",
                "1e-4",
                "--out",
                NAME,
            )
            place.harness("gate", "--ckpt", NAME, "--junit", "j.xml")

    return case


def linked_checkpoint(place: Place) -> None:
    """A checkpoint that works, under such a name."""
    from harness.engines.zoo import resolved

    (place.folder / NAME).symlink_to(resolved("zoo:base"))
    name = f"./{NAME}"
    limits = ("--limit", "2")
    place.harness("eval", "--ckpt", name, "--engine", "hf", *limits, "--out", "run")
    place.harness("gate", "run", "--no-record")
    place.harness(
        "cliff",
        "--teacher",
        name,
        "--base",
        "zoo:base",
        "--lambda",
        "1.1",
        "--clip",
        "5",
        "--limit",
        "4",
        "--engine",
        "hf",
        "--out",
        "cliff",
    )
    place.harness(
        "forecast", "--teacher", "zoo:teacher", "--base", name, "--lambdas", "1", *limits, "--out", "f"
    )
    place.harness(
        "train",
        "sft",
        "--ckpt",
        name,
        "--out",
        f"w{NAME}",
        "--steps",
        "1",
        "--lr",
        "1e-4",
        "--limit",
        "4",
        "--batch-size",
        "2",
    )


def recorded(change: Callable[[dict[str, Any]], Any], *more: str) -> Case:
    """A run whose manifest says such things."""

    def case(place: Place) -> None:
        run = place.changed(change)
        _reading(place, run)
        place.harness("rescore", run)
        place.harness("gate", place.run, "--no-record", "--baseline", run)
        place.harness("gate", run, "--no-record", "--baseline", place.run, "--common")
        place.harness("report", run, place.run, "-o", "two.html", *more)

    return case


def of_metrics(place: Place) -> None:
    run = place.changed(
        lambda metrics: metrics.__setitem__(TEXT, metrics["parse_validity.strict"]), "metrics.json"
    )
    _reading(place, run)


def policy(content: object) -> Case:
    def case(place: Place) -> None:
        text = content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True)
        place.write("policy.yaml", text)
        place.harness("gate", place.run, "--policy", "policy.yaml", "--junit", "j.xml", "--summary", "s.md")
        place.harness("gate", place.run, "--policy", "policy.yaml", "--plan")
        place.harness("--debug", "gate", place.run, "--policy", "policy.yaml", "--json")

    return case


def policy_file(place: Place) -> None:
    place.write(NAME, "rules: [parse_validity.strict >= 2]\n")
    place.harness("gate", place.run, "--policy", NAME)
    place.harness("gate", "--init", "--policy", f"{NAME}2")


def rubric(changes: dict[str, Any] | str) -> Case:
    def case(place: Place) -> None:
        content = yaml.safe_load((ROOT / "rubrics" / "listwise-relevance.yaml").read_text())
        if isinstance(changes, str):
            place.write("rubric.yaml", changes)
        else:
            place.write("rubric.yaml", yaml.safe_dump(content | changes, allow_unicode=True))
        place.harness("judge", "--lint", "rubric.yaml")
        place.harness("judge", "--lint", "rubric.yaml", "--json")
        place.harness("judge", place.run, "--rubric", "rubric.yaml", "--dry-run")

    return case


def asking(mode: str) -> Case:
    """A server that says such things."""

    def case(place: Place) -> None:
        place.server.mode = mode
        shared = (
            "--engine",
            "openai",
            "--base-url",
            place.server.url,
            "--data",
            place.tasks(),
            "--retry-seconds",
            "0.5",
        )
        place.harness("eval", *shared, "--out", "run")
        place.harness("gate", *shared, "--out", "live", "--junit", "j.xml")
        if mode in ("answer", "root", "name", "version", "reason"):
            _reading(place, "run")

    return case


def judging(mode: str) -> Case:
    def case(place: Place) -> None:
        place.server.mode = mode
        run = place.folder / "judged"
        shutil.copytree(place.run, run)
        place.harness(
            "judge",
            run,
            "--rubric",
            "listwise-relevance",
            "--limit",
            "1",
            "--repeats",
            "1",
            "--endpoint",
            place.server.url,
            "--cache",
            "cache",
        )
        place.harness("report", run, "-o", "r.html")

    return case


def settings(place: Place) -> None:
    place.harness(TEXT)
    place.harness("eval", f"--{TEXT}")
    place.harness("eval", "--limit", TEXT)
    place.harness("eval", "--engine", TEXT)
    place.harness("eval", "--engine-arg", TEXT, "--ckpt", "zoo:base")
    place.harness("eval", "--base-url", TEXT, "--engine", "openai")
    place.harness("gate", place.run, "--assume", TEXT, "--plan")
    place.harness("gate", place.run, TEXT)
    place.harness("report", place.run, "-o", "r.html", "--title", TEXT, "--baseline", TEXT)
    place.harness("report", place.run, "--format", "md", "--title", TEXT)


def plan(content: dict[str, Any] | str) -> Case:
    def case(place: Place) -> None:
        whole: dict[str, Any] = {
            "teacher": "zoo:teacher",
            "base": "zoo:base",
            "seeds": [0],
            "arms": [{"name": "a", "clip": 2, "lambdas": [1, 1.5]}],
        }
        text = content if isinstance(content, str) else yaml.safe_dump(whole | content, allow_unicode=True)
        place.write("plan.yaml", text)
        place.harness("sweep", "plan.yaml", "--out", "sweep")
        place.harness("sweep", "plan.yaml", "--out", f"s{NAME}", "--print-commands")
        place.harness("sweep", "plan.yaml", "--out", "sweep", "--only", TEXT)
        place.harness("prereg", "lock", "plan.yaml", "--out", "lock")

    return case


def plan_file(place: Place) -> None:
    place.write(
        NAME,
        "teacher: zoo:teacher\nbase: zoo:base\nseeds: [0]\narms: [{name: a, clip: 2, lambdas: [1, 1.5]}]\n",
    )
    place.harness("sweep", NAME, "--out", f"s{NAME}", "--print-commands")
    place.harness("sweep", NAME, "--out", f"s{NAME}", "--print-commands", "--json")
    place.harness("sweep", f"no{NAME}", "--out", "s")
    place.harness(
        "sweep", "--teacher", NAME, "--base", NAME, "--lambda", "1", "--lambda", "2", "--out", f"t{NAME}"
    )


def raised(where: str, kind: str) -> Case:
    """An exception with such words, with and without its traceback."""

    def case(place: Place) -> None:
        words = ["eval", "--replay", str(place.outputs()), "--data", str(place.tasks()), "--out", "run"]
        for more in ([], ["--debug"]):
            place.python(
                f"import sys, harness.{where} as job\nfrom harness.cli import main\n"
                "from harness.errors import *\n"
                f"text = {TEXT!r}\ndef fail(*_, **__):\n    raise {kind}\n"
                f"job.load_tasks = fail\nsys.exit(main({[*more, *words]!r}))\n"
            )

    return case


def told(place: Place) -> None:
    """A job's progress and remarks with such words, and a library that prints, warns and logs."""
    place.python(
        "import logging, sys, time, warnings\nfrom harness.cli import consoles, output\n"
        "from harness.cli.listening import listening, on_code_change\nfrom harness.progress import Progress\n"
        f"from harness.streams import guarded\ntext = {TEXT.replace(SPOOF, 'spoof')!r}\n"
        "with guarded():\n"
        "    console = consoles.errors()\n"
        "    with listening(console) as tell:\n"
        "        for n in range(3):\n"
        "            tell(Progress(text, n, 3, note=text))\n"
        "            print(text)\n"
        "            print(text, file=sys.stderr)\n"
        "            warnings.warn(text)\n"
        "            logging.getLogger('x').warning(text)\n"
        "            sys.stderr.write('\\r' + text)\n"
        "    on_code_change(console, allowed=True)(text)\n"
        "    sys.stdout.write('#'); sys.stdout.write('#[group]INJ\\n:'); sys.stdout.write(':error::INJ\\n')\n"
        "    output.remark(text); output.result(text); output.lines(text); output.document({text: [text]})\n"
        "    consoles.results().print(consoles.line(text), text)\n"
    )


def doctor(place: Place) -> None:
    place.python(
        f"import sys, harness.cli.doctor as doctor\nfrom harness.cli import main\ntext = {TEXT!r}\n"
        "doctor._datasets = lambda: doctor.Finding('datasets', False, text, text)\n"
        "main(['doctor'])\nmain(['doctor', '--json'])\n"
    )
    place.python("from harness.cli import main\nmain(['data', 'list'])\n")


def figures(place: Place) -> None:
    """The tables of forecast, cliff, sweep and judge with such names."""
    place.python(
        "from types import SimpleNamespace as N\nfrom harness.cli import consoles\n"
        "from pathlib import Path\nfrom harness.stats import Estimate\n"
        "from harness.cli.forecast_summary import print_forecast\nfrom harness.streams import guarded\n"
        f"from harness.cli.tables import metric_table, titled\ntext = {TEXT!r}\n"
        "one = Estimate(3, 0.5, 0.1, 0.9, text)\n"
        "student = N(checkpoint=text, lambda_reached=Estimate(0, None, None, None, text), off_the_line=one,"
        " parse_validity=one, forecast_there=None)\n"
        "point = N(lam=1.0, parse_validity=one, ndcg_at_1_parsed=one, ndcg_at_1_all=one,"
        " failure_codes={text: 0.5})\n"
        "found = N(points=[point], plausible=0.1, teacher=text, base=text, students=[student], bar=0.9,"
        " largest_lambda=N(low=None, high=None, estimate=None, reason=text), gain=None, lambda_star=None,"
        " notes=[text])\n"
        "with guarded():\n"
        "    console = consoles.results()\n"
        "    print_forecast(found, Path('f'), console)\n"
        "    console.print(metric_table(text, {text: one}, lambda _: True))\n"
        "    console.print(titled(text))\n"
    )


def broken_file(name: str, content: str) -> Case:
    """A run with a file that holds such things."""

    def case(place: Place) -> None:
        run = place.folder / "broken"
        shutil.copytree(place.run, run)
        (run / name).write_text(content, encoding="utf-8", errors="surrogatepass")
        for command in ("gate", "rescore"):
            place.harness(command, run)
        place.harness("report", run, "-o", "r.html")
        place.harness("--debug", "report", run, "--format", "md")

    return case


def prepared(place: Place) -> None:
    reviews = place.write(f"r{NAME}", f'{{"{TEXT}\n{json.dumps({"asin": TEXT, "overall": TEXT})}\n')
    meta = place.write("meta.json", json.dumps({"asin": TEXT, "title": TEXT}) + "\n")
    place.harness(
        "data", "prepare", "amazon-fashion", "--reviews", reviews, "--meta", meta, "--out", f"o{NAME}"
    )
    place.harness("data", "generate", "fashion-mini", "--n", "2", "--split", "test", "--out", f"g{NAME}")


def looks(place: Place) -> None:
    run = place.folder / "looked"
    shutil.copytree(place.run, run)
    (run / "gate.json").write_text(json.dumps({TEXT: TEXT}))
    place.harness("gate", run)
    stream = place.write(f"s{NAME}", json.dumps({TEXT: TEXT}))
    place.harness("gate", place.run, "--no-record", "--stream", stream)


def locked(place: Place) -> None:
    for name in ("prereg.json", "sweep.json"):
        (place.folder / "sweep").mkdir(exist_ok=True)
        place.write(f"sweep/{name}", json.dumps({TEXT: TEXT}))
    place.harness("prereg", "check", "sweep")
    place.harness(
        "sweep",
        "--teacher",
        "zoo:teacher",
        "--base",
        "zoo:base",
        "--lambda",
        "1",
        "--lambda",
        "2",
        "--out",
        "sweep",
    )


def labels(place: Place) -> None:
    place.write(f"l{NAME}", f"task_id,sample,score\n{TEXT!r},0,{TEXT!r}\n")
    place.harness("judge", place.run, "--rubric", "listwise-relevance", "--labels", f"l{NAME}", "--dry-run")
    place.harness("judge", place.run, "--rubric", f"{NAME}.yaml", "--pairwise", NAME)


def contract_schema(place: Place) -> None:
    place.harness(
        "eval", "--replay", place.outputs(text=json.dumps({TEXT: 1})), "--data", place.tasks(), "--out", "a"
    )
    place.harness(
        "eval",
        "--replay",
        place.outputs(text=json.dumps({"ranking": [TEXT, 1, 2]})),
        "--data",
        place.tasks(),
        "--out",
        "b",
    )
    place.harness("report", "a", "b", "--format", "md")


def cases() -> dict[str, Case]:
    """All of them, by name."""

    def put(*keys: str) -> Callable[[dict[str, Any]], None]:
        def change(document: dict[str, Any]) -> None:
            *way, last = keys
            for key in way:
                document = document[key]
            document[last] = TEXT

        return change

    found: dict[str, Case] = {
        "an answer": answer,
        "an answer with half a character": surrogate,
        "a task id": task_id,
        "titles, items, attributes": title,
        "JSON for machines": machine,
        "a doubled task id": doubled,
        "a task id without an output": missing,
        "recorded outputs that can't be read": broken_outputs,
        "keys and values of answers": contract_schema,
        "a row: unknown field": bad_row({TEXT: 1}),
        "a row: relevance": bad_row({"relevance": [TEXT, 0, 0]}),
        "a row: empty id": bad_row({"task_id": "", "meta": {TEXT: TEXT}}),
        "a row: candidates": bad_row({"candidates": TEXT}),
        "a row: title": bad_row({"history": [{"item_id": TEXT, "title": 3}]}),
    }
    found |= {
        f"the name of a {what}": named(what) for what in ("dataset", "run", "no run", "checkpoint", "outputs")
    }
    found |= {
        "a working checkpoint's name": linked_checkpoint,
        "manifest: checkpoint": recorded(put("engine", "checkpoint")),
        "manifest: engine": recorded(put("engine", "name")),
        "manifest: version": recorded(put("engine", "version")),
        "manifest: dataset": recorded(put("dataset", "name")),
        "manifest: split": recorded(put("dataset", "split")),
        "manifest: path": recorded(put("dataset", "path")),
        "manifest: options": recorded(put("engine", "options", "dtype")),
        "manifest: an option's name": recorded(lambda one: one["engine"]["options"].__setitem__(TEXT, TEXT)),
        "manifest: config": recorded(put("config", "ckpt")),
        "manifest: command": recorded(lambda one: one.__setitem__("command", ["harness", TEXT])),
        "manifest: status": recorded(put("status")),
        "manifest: prompt version": recorded(put("prompt_version")),
        "manifest: host": recorded(put("host", "name")),
        "manifest: contract": recorded(put("contract", "key")),
        "manifest: session": recorded(lambda one: one["sessions"][0].__setitem__("started", TEXT)),
        "metrics: a name": of_metrics,
        "metrics: no JSON": broken_file("metrics.json", TEXT),
        "manifest: no JSON": broken_file("manifest.json", json.dumps({TEXT: TEXT})),
        "samples: no JSON": broken_file("samples.jsonl", json.dumps({"key": TEXT, "task_id": TEXT}) + "\n"),
        "tasks: no JSON": broken_file("tasks.jsonl", f'{{"task_id": "{TEXT!r}"'),
        "cliff: no JSON": broken_file("cliff.json", json.dumps({TEXT: TEXT})),
        "gate: no JSON, a stream": looks,
        "policy: a rule": policy({"rules": [f"parse_validity.strict >= 0.5 {TEXT}"]}),
        "policy: a metric": policy({"rules": [f"rubric.{TEXT} >= 0.5"]}),
        "policy: a word": policy({"rules": [f"cliff.verdict in [{TEXT}]"]}),
        "policy: a key": policy({TEXT: 1}),
        "policy: a value": policy({"alpha": TEXT, "rules": ["parse_validity.strict >= 0.5"]}),
        "policy: no YAML": policy(f"rules: [\n{TEXT}"),
        "the name of a policy": policy_file,
        "rubric: a name": rubric({"name": TEXT}),
        "rubric: a key": rubric({TEXT: TEXT}),
        "rubric: a version": rubric({"version": TEXT}),
        "rubric: criteria": rubric({"criteria": [{"name": TEXT, "weight": TEXT}]}),
        "rubric: model": rubric({"model": {"name": TEXT}}),
        "rubric: no YAML": rubric(f"name: [\n{TEXT}"),
        "labels and names of rubrics": labels,
    }
    modes = ("400", "500", "html", "answer", "reason", "name", "root", "version", "two-names", "models-html")
    found |= {f"server: {mode}": asking(mode) for mode in modes}
    found |= {
        "judge: an error": judging("gemini-error"),
        "judge: an answer": judging("gemini-answer"),
        "settings": settings,
        "plan: teacher": plan({"teacher": TEXT}),
        "plan: an arm": plan({"arms": [{"name": TEXT, "clip": 2, "lambdas": [1, 2]}]}),
        "plan: a key": plan({TEXT: TEXT}),
        "plan: no YAML": plan(f"teacher: [\n{TEXT}"),
        "the name of a plan": plan_file,
        "a lock and a sweep": locked,
        "an error": raised("evaluate.job", "DataError(text)"),
        "a bug": raised("evaluate.job", "ValueError(text)"),
        "an OSError": raised("evaluate.job", "OSError(28, text, text)"),
        "a chain of errors": raised("evaluate.job", "IncompleteError(text) from KeyError(text)"),
        "progress, warnings, logs": told,
        "doctor, data list": doctor,
        "tables": figures,
        "prepared and generated data": prepared,
    }
    return found


def check(name: str, case: Case, work: Path, server: Teller) -> tuple[str, list[str]]:
    """Exit codes of the commands, and what was found raw."""
    codes, found = [], []
    for terminal in (False, True):
        folder = work / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{'pty' if terminal else 'pipe'}"
        folder.mkdir()
        server.mode = ""
        place = Place(folder, work / "run", server)
        case(place)
        lines: list[Words] = list(place.lines)
        lines += [["-c", f"import sys\nsys.argv = ['x']\n{code}\nsys.exit(0)"] for code in place.programs]
        for words in lines:
            code, shown = printed(words, folder, terminal)
            codes.append(code)
            found += [
                f"{' '.join(ascii(str(one))[1:20] for one in words[:3])}: {one}"
                for one in raw(shown, terminal)
            ]
            if code not in (0, 1, 2, 3, 4, 5):
                found.append(f"exit code {code}")
    return "".join(map(str, codes)), found[:3]


def workplace() -> Iterator[Path]:
    """A folder with a finished run."""
    with tempfile.TemporaryDirectory(prefix="injections-") as temporary:
        work = Path(temporary)
        place = Place(work, work / "run", Teller())
        words: Words = ("eval", "--replay", place.outputs(), "--data", place.tasks(), "--out", "run")
        code, shown = printed(words, work, terminal=False)
        if code != 0:
            raise SystemExit(shown.decode())
        # What these import is there then in every fork.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            for command, *more in (("rescore",), ("gate", "--no-record"), ("report", "--format", "md")):
                main_of_harness([command, str(place.run), *more])
            main_of_harness(["report", str(place.run), "-o", str(work / "page.html")])
            main_of_harness(["judge", str(place.run), "--rubric", "listwise-relevance", "--dry-run"])
            main_of_harness(["data", "check", str(place.folder / "tasks.jsonl")])
        yield work


def main() -> int:
    """Run the cases; 1 where something raw was shown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose names hold this")
    chosen = parser.parse_args()
    for name in ("NO_COLOR", "CI", "GITHUB_STEP_SUMMARY"):
        os.environ.pop(name, None)
    named = {name: case for name, case in cases().items() if chosen.only in name}
    clean, server = 0, Teller()
    for work in workplace():
        for name, case in named.items():
            codes, found = check(name, case, work, server)
            clean += not found
            print(f"{name:<38} {codes:<24} {'; '.join(found) or 'clean'}", flush=True)
    print(f"{clean} of {len(named)} clean")
    return 0 if clean == len(named) else 1


if __name__ == "__main__":
    sys.exit(main())
