"""`harness data …`: what it prints, its exit codes, and that each help's example runs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from harness.cli import main
from harness.cli.data import data
from harness.data.loading import load_tasks
from harness.data.locate import datasets_root
from tests.data.retrieval import write_retrieval
from tests.data.synthetic_reviews import items, random_reviews, write_rows


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(("path", "command"), [((), data), *commands(data)], ids=str)
def test_help_ends_with_an_example_that_runs(
    path: tuple[str, ...],
    command: click.Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "Amazon_Fashion.jsonl.gz", random_reviews(600, 300, 0))
    write_rows(tmp_path / "meta_Amazon_Fashion.jsonl.gz", items(300))
    write_retrieval(tmp_path)
    assert main(["data", *path, "--help"]) == 0
    shown = capsys.readouterr().out
    _, _, example = shown.rpartition("Example: ")
    program, *arguments = shlex.split(example.replace("\\\n", " "))
    # As printed, on one line or with the shell's own line ends.
    assert "\n" not in example.replace("\\\n", " ").strip()
    assert program == "harness"
    assert main(arguments) == 0, capsys.readouterr().err


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "fashion-mini"
    assert row["splits"] == ["train", "validation", "test", "variable-k"]
    assert Path(row["path"]) == datasets_root() / "fashion-mini"


def test_a_list_in_a_pipe_keeps_its_paths_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    assert str(datasets_root() / "fashion-mini") in capsys.readouterr().out


def test_check_prints_each_bad_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tasks.jsonl"
    good = (datasets_root() / "fashion-mini" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([good[0], "{}", *["x"] * 30, good[1]]), encoding="utf-8")
    assert main(["data", "check", str(file)]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3 + 30
    assert "line 2 task_id: missing" in out
    assert "line 32: not JSON" in out
    assert "31 of 33 rows are bad" in err
    assert len(err.splitlines()) == 1
    assert main(["data", "check", str(file), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["rows_read"], found["rows_bad"], len(found["bad_rows"])) == (33, 31, 33)
    assert found["bad_rows"][0] == {"line": 2, "field": "task_id", "message": "missing"}


def test_check_good_and_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "fashion-mini", "--split", "variable-k"]) == 0
    assert "256 rows, all good" in capsys.readouterr().out
    assert main(["data", "check", "no-such-name"]) == 2
    assert "known: fashion-mini" in capsys.readouterr().err


def test_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    assert (
        main(["data", "generate", "fashion-mini", "--split", "validation", "--out", str(out), "--json"]) == 0
    )
    (row,) = json.loads(capsys.readouterr().out)
    assert row["tasks"] == 256
    bundled = datasets_root() / "fashion-mini" / "validation.jsonl"
    assert Path(row["path"]).read_bytes() == bundled.read_bytes()
    assert main(["data", "generate", "fashion-mini", "--n", "3", "--out", str(out)]) == 2
    assert "--split" in capsys.readouterr().err


def test_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviews = write_rows(tmp_path / "reviews.jsonl.gz", random_reviews(600, 300, 1))
    meta = write_rows(tmp_path / "meta.jsonl", items(300))
    files = ["--reviews", str(reviews), "--meta", str(meta), "--out", str(tmp_path / "out")]
    command = ["data", "prepare", "amazon-fashion", *files]
    assert main([*command, "--k", "5", "--seed", "3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["tasks"]["train"] == len(load_tasks(tmp_path / "out", "train").tasks)
    assert {task.k for task in load_tasks(tmp_path / "out").tasks} == {5}
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    out, err = capsys.readouterr()
    assert "MiB" in out
    assert "repeated user–item pair" in out
    assert "reading reviews" in err


def test_prepare_refuses_with_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviews = write_rows(tmp_path / "reviews.jsonl", random_reviews(20, 30, 1))
    meta = write_rows(tmp_path / "meta.jsonl", items(30))
    command = ["data", "prepare", "amazon-fashion", "--reviews", str(reviews), "--meta", str(meta)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert "no task: too few usable reviews" in out
    assert "can't support ranking" in err.splitlines()[-1]
    assert main([*command, "--out", str(tmp_path / "out"), "--k", "101"]) == 2
    assert "Invalid value for '--k': 101 is not in the range 2<=x<=100" in capsys.readouterr().err


def test_module_loads_nothing_heavy() -> None:
    code = (
        "import sys, harness.cli.data\n"
        "heavy = {'torch', 'vllm', 'transformers', 'pandas', 'pydantic', 'numpy', 'rich', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
