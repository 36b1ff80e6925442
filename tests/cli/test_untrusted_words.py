"""What comes from outside is shown and commands neither terminal nor CI system; keys are in no file or line.

`benchmarks/injections.py` and `benchmarks/planted_keys.py` go through all places and faults.
"""

import ast
import base64
import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

import harness
from harness.cli import consoles, main, output
from harness.cli.listening import listening
from harness.progress import Progress
from harness.streams import guarded
from tests.cli.test_bad_input import write_tasks
from tests.engines.faulty_server import Fault, faulty

PACKAGE = Path(harness.__file__).parent
SPOOF = "gate: PASS (exit code 0): spoofed"
HOSTILE = (
    "\x1b[31mx\x1b]0;title\x07\x9b2J\x08\r\u202e\u200b\u2028\n::error::x\n##[error]x\n##vso[task.x]x"
    f"\n##teamcity[x]\nsection_start:1:x\r\x1b[0K\n{SPOOF} [link=file:///x]"
)
KEY = "sk-Pl4nted/Key+9f3=Q'x&7"


def is_harmless(shown: str) -> bool:
    return not (
        re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u202e\ud800-\udfff]", shown)
        or re.search(r"(?m)^\s*::|##[A-Za-z]*\[|^\s*gate: PASS \(exit code 0\): spoofed", shown)
    )


def write_outputs(path: Path, text: str, task_id: str = "t0") -> Path:
    rows = [{"task_id": task_id, "text": text}, {"task_id": "t1", "text": '{"ranking": [1, 2, 3]}'}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def hostile_tasks(path: Path) -> Path:
    write_tasks(path, [HOSTILE, "Shirt"])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["task_id"] = HOSTILE
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def shown(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    main([str(word) for word in words])
    captured = capsys.readouterr()
    return captured.out + "\n" + captured.err


def test_a_hostile_dataset_and_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = hostile_tasks(tmp_path / "tasks.jsonl")
    outputs = write_outputs(tmp_path / "outputs.jsonl", HOSTILE, HOSTILE)
    run = tmp_path / "run"
    for words in (
        ("eval", "--replay", outputs, "--data", data, "--out", run),
        ("rescore", run),
        ("gate", run, "--no-record"),
        ("gate", run, "--no-record", "--json"),
        ("report", run, "--format", "md"),
        ("eval", "--replay", write_outputs(tmp_path / "others.jsonl", "x"), "--data", data),
        ("data", "check", tmp_path / HOSTILE[:20]),
        ("judge", run, "--rubric", HOSTILE),
        ("eval", "--limit", HOSTILE),
        (HOSTILE,),
    ):
        assert is_harmless(shown(capsys, *words)), words


def test_json_keeps_what_it_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    with guarded():
        output.document({HOSTILE: [HOSTILE, "汉字"]})
    printed = capsys.readouterr().out
    assert is_harmless(printed)
    assert json.loads(printed) == {HOSTILE: [HOSTILE, "汉字"]}


def test_ordinary_unicode_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with guarded():
        consoles.results().print(consoles.line("汉字 é 👍🏽 [bold]"))
    assert capsys.readouterr().out == "汉字 é 👍🏽 [bold]\n"


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_errors_and_tracebacks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debug: list[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError(f"{HOSTILE.replace(SPOOF, '')} Bearer {KEY} {KEY!r}")

    monkeypatch.setenv("SOME_API_KEY", KEY)
    monkeypatch.setattr("harness.evaluate.job.load_tasks", fail)
    outputs = write_outputs(tmp_path / "outputs.jsonl", "x")
    printed = shown(capsys, *debug, "eval", "--replay", outputs, "--data", "fashion-mini")
    assert ("Traceback" in printed) == bool(debug)
    assert "ValueError" in printed
    assert is_harmless(printed)
    assert "Pl4nted" not in printed


def test_progress_and_what_libraries_say(capsys: pytest.CaptureFixture[str]) -> None:
    words = HOSTILE.replace(SPOOF, "")
    with guarded(), listening(consoles.errors()) as tell:
        tell(Progress(words, 1, 3, note=words))
        print(words, file=sys.stderr)
    assert is_harmless(capsys.readouterr().err)


def replies() -> dict[str, Fault]:
    error = {"error": {"message": f"overloaded {KEY}, {quote(KEY, safe='')}"}}
    encoded = base64.b64encode(f"user:{KEY}".encode()).decode()
    answer = {"choices": [{"message": {"content": KEY}, "finish_reason": "stop"}]}
    bodies = {
        "error": (400, error),
        "200": (200, error),
        "base64": (400, {"error": {"message": f"Basic {encoded}"}}),
        "cut": (400, {"error": {"message": f"the key {KEY[:14]}"}}),
        "name": (400, {KEY: KEY}),
        "answer": (200, answer),
    }
    return {name: Fault(status, body=json.dumps(body).encode()) for name, (status, body) in bodies.items()}


@pytest.mark.parametrize("name", list(replies()))
def test_a_server_repeats_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip("httpx")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    data = write_tasks(tmp_path / "tasks.jsonl", ["Shirt"])
    with faulty(lambda *_: replies()[name]) as server:
        words = ("eval", "--engine", "openai", "--base-url", server.url, "--data", data)
        printed = shown(capsys, *words, "--retry-seconds", "0", "--out", tmp_path / "run")
    assert_no_key(printed, tmp_path)


def assert_no_key(printed: str, folder: Path) -> None:
    texts = [printed, *(path.read_text() for path in folder.rglob("*") if path.is_file())]
    encoded = base64.b64encode(f"user:{KEY}".encode()).decode()
    for form in (KEY, quote(KEY, safe=""), KEY[:12], KEY[-12:], encoded):
        assert not [text for text in texts if form in text]


def test_secrets_of_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_tasks(tmp_path / "tasks.jsonl", ["Shirt", "Coat"])
    outputs = write_outputs(tmp_path / "outputs.jsonl", "x")
    words = ["eval", "--replay", str(outputs), "--data", str(data), "--out", str(tmp_path / "run")]
    words += ["--engine-arg", f"hf_token={KEY}"]
    monkeypatch.setattr(sys, "argv", ["harness", *words])
    for _ in range(2):  # The second goes on with what is there.
        assert main(words) == 0
    printed = capsys.readouterr()
    assert_no_key(printed.out + printed.err, tmp_path)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["command"][-1] == "hf_token=***"
    assert manifest["config"]["engine"]["engine_args"] == {"hf_token": "***"}


@pytest.mark.parametrize(
    "address", ["http://user:{}@h/v1", "http://h/v1?api_key={}", "//me:{}@h", "ftp://u:{}@h"]
)
def test_secrets_in_addresses(capsys: pytest.CaptureFixture[str], tmp_path: Path, address: str) -> None:
    pytest.importorskip("httpx")
    secret = "Pl4ntedPassword"
    os.chdir(tmp_path)
    printed = shown(capsys, "--debug", "eval", "--engine", "openai", "--base-url", address.format(secret))
    assert secret not in printed
    assert "OPENAI_API_KEY" in printed


ROOMS = ("cli/output.py", "cli/consoles.py", "streams.py")
# Write to streams of their own processes, which are guarded, or to those of a child, which are masked.
OF_OTHER_PROCESSES = ("sweep/work.py", "engines/vllm_replica.py", "engines/vllm_worker.py")
PRINTS = re.compile(
    r"print|click\.s?echo|(rich\.console\.)?Console|traceback\.print_\w+|sys\.(stdout|stderr)\.write\w*"
)


def test_only_two_rooms_print() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in (*ROOMS, *OF_OTHER_PROCESSES)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and PRINTS.fullmatch(ast.unparse(node.func))
    ]
    assert not found, "print with harness.cli.output or a console of harness.cli.consoles"
