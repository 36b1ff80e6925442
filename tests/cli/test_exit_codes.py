"""Whatever breaks in whichever command: one line, and an exit code that is 1 only where a gate failed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.exit_codes import ALLOWED, FAULTS, SEAMS, Seam, World, call, outcome
from harness.cli import ending, main
from harness.errors import Interrupted
from tests.disks import change, fill

ROOT = Path(__file__).parents[2]
GATE = "gate --junit @junit.xml --summary @summary.md"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.build(tmp_path_factory.mktemp("world"))


def cases() -> list[object]:
    return [
        pytest.param(
            seam,
            fault,
            id=f"{seam.command}-{seam.name}-{fault}",
            marks=[pytest.mark.model] if seam.loads_models else [],
        )
        for seam in SEAMS
        for fault in FAULTS
        # Models take their time to load; the one class of errors goes the same way as the other.
        if not seam.loads_models or fault in {"bug", "disk full"}
    ]


@pytest.mark.parametrize(("seam", "fault"), cases())
def test_a_broken_seam(world: World, tmp_path: Path, seam: Seam, fault: str) -> None:
    found = outcome(seam, fault, world, tmp_path / "world")
    assert found.code in ALLOWED[fault], found.error
    last = found.error.strip().splitlines()[-1]
    assert last.startswith("harness: error: ")
    assert "Traceback" not in found.error
    if fault == "bug":
        assert "internal: RuntimeError: a bug" in last
        assert last.endswith("run again with --debug for the traceback")
    assert found.junit is (seam.reports if seam.command.startswith("gate") else None)


def test_debug_shows_the_traceback(world: World, tmp_path: Path) -> None:
    seam = next(one for one in SEAMS if (one.command, one.name) == ("report", "render"))
    with seam.broken(RuntimeError("a bug")):
        found = call("report @run -o @report.html --debug", world.copy(tmp_path / "world"))
    assert found.code == 5
    assert "Traceback (most recent call last)" in found.error
    assert "\nharness: error: internal: RuntimeError: a bug at " in found.error


@pytest.mark.parametrize(
    "error",
    [SystemExit(1), SystemExit(0), MemoryError(), EOFError(), GeneratorExit(), OSError("of no errno")],
    ids=repr,
)
def test_what_isnt_an_exception_of_ours_is_a_bug(world: World, tmp_path: Path, error: BaseException) -> None:
    seam = next(one for one in SEAMS if (one.command, one.name) == ("gate RUN", "decide"))
    with seam.broken(error):  # type: ignore[arg-type]
        found = call(f"{GATE} @run", world.copy(tmp_path / "world"))
    assert (found.code, found.junit) == (5, True)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("interrupted after 3; go on")])
def test_an_interruption_is_incomplete(world: World, tmp_path: Path, error: BaseException) -> None:
    seam = next(one for one in SEAMS if (one.command, one.name) == ("gate live", "engine generate"))
    with seam.broken(error):  # type: ignore[arg-type]
        found = call(
            f"{GATE} --replay @outputs.jsonl --data @tasks.jsonl --out @new", world.copy(tmp_path / "world")
        )
    assert (found.code, found.junit) == (3, True)
    assert "interrupted after" in found.error


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (f"{GATE} @run", 0),
        (f"{GATE} @run --no-such-option", 2),
        ("gate @run --junit=@junit.xml --max-tasks none", 2),
        (f"{GATE}", 2),
        (f"{GATE} @run --policy @nowhere.yaml", 2),
        (f"{GATE} @nowhere", 2),
        (f"{GATE} @run --junit @run", 2),
        (f"{GATE} @run --summary @run", 2),
    ],
)
def test_a_gate_that_cant_decide_writes_its_reports(
    world: World, tmp_path: Path, command: str, code: int
) -> None:
    here = world.copy(tmp_path / "world")
    here.path("gate.yaml").rename(here.path("other.yaml"))
    here.path("junit.xml").write_text("<testsuites>of an earlier gate</testsuites>")
    policy = "" if "--policy" in command or code else " --policy @other.yaml"
    found = call(command.replace("=@", f"={here.folder}/") + policy, here)
    assert found.code == code
    assert "gate" in here.path("job-summary.md").read_text()
    if "--junit @run" not in command:
        assert found.junit is (code != 0)
        assert "earlier" not in here.path("junit.xml").read_text()


def test_a_failed_gate_alone_is_1(world: World, tmp_path: Path) -> None:
    here = world.copy(tmp_path / "world")
    here.path("gate.yaml").write_text("rules: ['parse_validity.strict <= 0.01']\n")
    found = call(f"{GATE} --policy @gate.yaml @run", here)
    assert (found.code, found.junit, found.error) == (1, False, "")


# What is written where the disk refuses: state of a job that can go on, or a file that somebody named.
WRITES = {
    "eval --engine replay --replay @outputs.jsonl --data @tasks.jsonl --out @disk/new": {2, 3},
    "rescore @disk/run": {2, 3},
    "judge @disk/run --rubric listwise-relevance --cache @judge.sqlite": {2, 3},
    "judge @run --rubric listwise-relevance --cache @disk/judge.sqlite": {2, 3},
    f"{GATE} --policy @gate.yaml @disk/run": {2},
    "gate --policy @gate.yaml @run --no-record --junit @disk/junit.xml": {2},
    "gate --policy @gate.yaml @run --no-record --summary @disk/summary.md": {2},
    f"{GATE} --replay @outputs.jsonl --data @tasks.jsonl --out @disk/new": {2, 3},
    "gate --init --policy @disk/gate.yaml": {2},
    "report @run -o @disk/report.html": {2},
    "data generate fashion-mini --split test --n 100 --out @disk/made": {2},
}


@pytest.mark.parametrize("broken", [fill, lambda disk: change(disk, "ro")], ids=["full", "read-only"])
@pytest.mark.parametrize("command", WRITES)
def test_on_a_real_disk_that_refuses(
    world: World, disk: Path, command: str, broken: Callable[[Path], None]
) -> None:
    here = world.copy(disk.parent / "world")
    here.path("disk").symlink_to(disk)
    world_run = here.path("run")
    subprocess.run(["cp", "-r", str(world_run), str(disk)], check=True)
    before = {path.name: path.read_bytes() for path in (disk / "run").iterdir()}
    broken(disk)
    found = call(command, here)
    assert found.code in WRITES[command], found.error
    (line,) = [one for one in found.error.splitlines() if one.startswith("harness: error: ")][-1:]
    reasons = ("No space left", "Read-only file system", "disk is full", "unable to open database")
    assert any(reason in line for reason in reasons)
    assert "Traceback" not in found.error
    after = {path.name: path.read_bytes() for path in (disk / "run").iterdir() if path.stat().st_size}
    assert after.items() <= before.items()
    if found.junit is not None and "--junit @junit.xml" in command:
        assert found.junit


def harness(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        env=environment,
        **{"stderr": subprocess.PIPE, **options},  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    ("bar", "code", "form", "both"),
    [
        ("<= 0.01", 1, [], False),
        ("<= 0.01", 1, ["--json"], True),
        (">= 0.1", 0, ["--json"], False),
        (">= 0.1", 0, [], True),
    ],
    ids=["fails, table", "fails, json and errors", "passes, json", "passes, table and errors"],
)
def test_a_verdict_stands_where_nobody_reads_on(
    world: World, tmp_path: Path, bar: str, code: int, form: list[str], both: bool
) -> None:
    here = world.copy(tmp_path / "world")
    here.path("gate.yaml").write_text(f"rules: ['parse_validity.strict {bar}']\n")
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ["--policy", str(here.path("gate.yaml")), str(here.path("run")), *form]
    gate = harness("gate", *arguments, stdout=writer, stderr=writer if both else subprocess.PIPE)
    os.close(writer)
    _, errors = gate.communicate()
    assert (gate.returncode, errors) == (code, None if both else b"")


def test_a_table_that_nobody_reads_is_done(world: World) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    rescore = harness("data", "check", str(world.path("tasks.jsonl")), stdout=writer)
    os.close(writer)
    _, errors = rescore.communicate()
    assert (rescore.returncode, errors) == (0, b"")


def test_output_that_has_no_room_is_said() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:
        listing = harness("data", "list", stdout=full)
    _, errors = listing.communicate()
    assert listing.returncode == 3
    assert errors.startswith(b"harness: error: ")
    assert errors.count(b"\n") == 1


def test_from_a_thread_and_with_the_callers_handlers(world: World) -> None:
    def theirs(number: int, frame: object) -> None:
        raise AssertionError

    earlier = signal.signal(signal.SIGTERM, theirs)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        codes = [main(["--version"]), main(["data", "check", str(world.path("nowhere.jsonl"))])]
        thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
        thread.start()
        thread.join()
        assert codes == [0, 2, 0]
        assert {number: signal.getsignal(number) for number in handlers} == handlers
    finally:
        signal.signal(signal.SIGTERM, earlier)


def test_readme_and_help_list_every_code(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    readme = " ".join((ROOT / "README.md").read_text().split())
    for text in (shown, readme):
        listed = text[text.lower().index("exit codes: ") :][:300]
        assert [code for code in "012345" if f"{code} " in listed] == list("012345")
    assert ending.known(RuntimeError()).exit_code == 5


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
def test_messages_that_nobody_reads_stop_a_job_that_can_go_on(tmp_path: Path) -> None:
    """`harness eval … 2>&1 | head`: not a bug of ours, and not done."""
    from tests.gate.gate_runs import good, write_outputs, write_tasks

    data = write_tasks(tmp_path / "tasks.jsonl", 20)
    outputs = write_outputs(tmp_path / "outputs.jsonl", [[good()]] * 20)
    reading, writing = os.pipe()
    os.close(reading)
    command = ["eval", "--replay", str(outputs), "--data", str(data), "--out", str(tmp_path / "run")]
    try:
        ended = harness(*command, stdout=writing, stderr=writing).wait()
    finally:
        os.close(writing)
    assert ended == 3
    assert main(command) == 0
