"""Which model answered a run, and how: recorded with it, and held to when it goes on."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")

from harness.cli import main
from harness.gate import Policy, decide
from harness.runs import load
from tests.engines.faulty_server import Fault
from tests.engines.ranking_server import Ranking, task_of, write_tasks

TASKS = 8
Eval = Callable[..., int]


class Named(Ranking):
    """Says which model answers; for some tasks there is reasoning alone."""

    name = "echo"
    thinks: tuple[str, ...] = ()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = super().answer(body) | {"model": self.name}
        if task_of(body) in self.thinks:
            answer["choices"][0]["message"] = {"content": "", "reasoning_content": "let me think"}
        return answer


@pytest.fixture
def server() -> Iterator[Named]:
    server = Named(lambda *_: None)
    yield server
    server.close()


@pytest.fixture
def evaluate(server: Named, tmp_path: Path) -> Eval:
    data = write_tasks(tmp_path / "tasks.jsonl", TASKS)

    def call(*more: str) -> int:
        where = ["eval", "--base-url", server.url, "--data", str(data), "--out", str(tmp_path / "run")]
        return main([*where, "--request-tries", "1", "--retry-seconds", "0", "--concurrency", "1", *more])

    return call


def test_a_run_goes_on_only_with_the_model_that_began_it(
    evaluate: Eval, server: Named, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.name = "echo-2024"
    server.script = lambda n, _: Fault(500) if n >= 3 else None
    assert evaluate() == 3
    begun = (tmp_path / "run" / "samples.jsonl").read_text()
    server.script, server.name = (lambda *_: None), "other"
    assert evaluate() == 3
    error = capsys.readouterr().err
    assert "by echo-2024, and now other" in error
    assert (tmp_path / "run" / "samples.jsonl").read_text() == begun
    server.name = "echo-2024"
    assert evaluate() == 0
    assert load(tmp_path / "run").manifest.engine.options["answered_by"] == "echo-2024"
    assert "asked for echo, the service answers as echo-2024" in capsys.readouterr().out


def test_what_is_served_must_be_the_same_when_a_run_goes_on(
    evaluate: Eval, server: Named, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(**entry: Any) -> None:
        body = json.dumps({"data": [{"id": "echo"} | entry]}).encode()
        server.pages["/v1/models"] = Fault(200, body=body)

    serve(max_model_len=4096, root="/models/a")
    server.script = lambda n, _: Fault(500) if n >= 3 else None
    assert evaluate("--ckpt", "a-name") == 3
    server.script = lambda *_: None
    for entry in ({"max_model_len": 2048, "root": "/models/a"}, {"max_model_len": 4096, "root": "/models/b"}):
        serve(**entry)
        assert evaluate("--ckpt", "a-name") == 2
        assert "holds another run (served" in capsys.readouterr().err
    serve(max_model_len=4096, root="/models/a")
    assert evaluate("--ckpt", "a-name") == 0


def test_answers_of_reasoning_alone_are_said_everywhere(
    evaluate: Eval, server: Named, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.thinks = ("t1", "t6")
    server.script = lambda n, _: Fault(500) if n >= 3 else None
    assert evaluate() == 3
    server.script = lambda *_: None
    assert evaluate() == 0
    said = "2 of 8 answers hold only reasoning"
    assert said in " ".join(capsys.readouterr().out.split())
    run = load(tmp_path / "run")
    assert any(said in note for note in decide(run, Policy()).notes)
    assert main(["report", str(run.path), "--format", "md", "--out", str(tmp_path / "r.md")]) == 0
    assert said in (tmp_path / "r.md").read_text()
