"""`harness cliff` killed, extended, repeated: what is stored is used, what is stale goes."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from harness.cli import main
from harness.cliff import ClassMass, MassBounds
from harness.engines.class_masses import ClassScores
from harness.errors import DataError, RunMismatchError
from harness.measure.score_log import SCORES, ScoreLog
from harness.runs import RunDirectory, load
from tests.checkpoints.planted_bigram import BASE, TEACHER, write_planted, write_tasks
from tests.forked import Forked

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
TASKS = 40


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    write_planted(folder / "teacher", TEACHER)
    write_planted(folder / "base", BASE)
    write_tasks(folder / "tasks.jsonl", TASKS)
    return folder


def arguments(folder: Path, out: Path, *more: str) -> list[str]:
    return [
        *("cliff", "--teacher", str(folder / "teacher"), "--base", str(folder / "base"), "--engine", "hf"),
        *("--lambda", "1.02", "--clip", "5", "--out", str(out), *rollouts(folder), *more),
    ]


def rollouts(folder: Path) -> list[str]:
    given = ["--data", str(folder / "tasks.jsonl"), "--device", "cpu"]
    return [*given, "--max-tokens", "16", "--batch-size", "2"]


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_a_killed_estimate_goes_on_with_its_scores_and_writes_the_same_file(
    planted: Path, tmp_path: Path
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert main(arguments(planted, calm)) == 0
    # Base and teacher: the second kill comes while the other model scores.
    for wanted in (5, TASKS + 7):
        process = Forked(arguments(planted, killed), tmp_path / "said")
        while process.poll() is None and lines(killed / SCORES) < wanted:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL
        kept = lines(killed / SCORES)
        assert wanted <= kept <= 2 * TASKS
        assert not (killed / "cliff.json").exists()
        with (killed / SCORES).open("ab") as file:
            file.write(b'{"scorer": "torn')
    before = (killed / SCORES).read_bytes().splitlines()[:kept]
    assert main(arguments(planted, killed)) == 0
    after = (killed / SCORES).read_bytes().splitlines()
    assert after[:kept] == before
    keys = [(row["scorer"], row["key"]) for row in map(json.loads, after)]
    assert len(keys) == len(set(keys)) == 2 * TASKS
    assert (killed / "cliff.json").read_bytes() == (calm / "cliff.json").read_bytes()
    assert (killed / "metrics.json").read_bytes() == (calm / "metrics.json").read_bytes()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_estimate_says_how_far_it_came(
    planted: Path, tmp_path: Path, how: signal.Signals
) -> None:
    process = Forked(arguments(planted, tmp_path / "run"), tmp_path / "said")
    while process.poll() is None and lines(tmp_path / "run" / SCORES) < 3:
        time.sleep(0.001)
    process.send_signal(how)
    assert process.wait() == 3
    error = process.said.read_text()
    assert f"of {TASKS} scores of the" in error
    assert "run the same command to go on" in error
    assert "Traceback" not in error


def test_a_second_process_is_refused_while_scores_are_added(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(arguments(planted, out)) == 0
    (out / SCORES).unlink()
    capsys.readouterr()
    with RunDirectory(out):
        assert main(arguments(planted, out)) == RunMismatchError.exit_code
    assert "being written by another process" in capsys.readouterr().err
    assert not (out / SCORES).exists()


def count_loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the checkpoints transformers loads from here on."""
    import transformers

    loaded: list[str] = []
    load_model = transformers.AutoModelForCausalLM.from_pretrained

    def counted(name: str, *args: Any, **options: Any) -> Any:
        loaded.append(Path(name).name)
        return load_model(name, *args, **options)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", counted)
    return loaded


def test_every_model_is_loaded_once_and_not_at_all_when_all_is_there(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = count_loads(monkeypatch)
    student = ("--student", str(planted / "base"))
    assert main(arguments(planted, tmp_path / "run", *student)) == 0
    # The base's checkpoint is the student too; it drew the rollouts, so it is scored first. In the end all
    # are side by side for λ reached and for the target.
    assert loaded == ["base", "teacher", "base", "teacher"]
    loaded.clear()
    first = json.loads((tmp_path / "run" / "cliff.json").read_bytes())
    capsys.readouterr()
    given = arguments(planted, tmp_path / "run", *student, "--json")
    given[given.index("--clip") + 1] = "3"
    assert main(given) == 0
    assert loaded == []
    second = json.loads(capsys.readouterr().out)
    assert [one["scored_now"] for one in second["costs"]] == [0, 0]
    assert second["lambda_star"]["value"] < first["lambda_star"]["value"]
    assert second["estimate"]["n_positions"] == first["estimate"]["n_positions"]


def test_an_evaluation_with_a_cliff_loads_its_model_once(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = count_loads(monkeypatch)
    given = arguments(planted, tmp_path / "run")
    given[0] = "eval"
    assert main([*given, "--ckpt", str(planted / "base"), "--limit", "12"]) == 0
    # Greedy: rollouts are drawn beside it, by the engine that is open already.
    assert loaded[:2] == ["base", "teacher"]
    assert sorted(loaded[2:]) == ["base", "teacher"]
    assert (tmp_path / "run" / "rollouts" / SCORES).is_file()
    document = json.loads((tmp_path / "run" / "cliff.json").read_bytes())
    assert document["rollouts"]["run"] == "rollouts"


def test_scores_of_another_teacher_are_not_taken(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(arguments(planted, out)) == 0
    document = json.loads((out / "cliff.json").read_bytes())
    given = arguments(planted, out)
    given[2] = str(planted / "base")
    assert main(given) == 0
    other = json.loads((out / "cliff.json").read_bytes())
    assert document["binding"] is not None
    assert other["binding"] is None
    # What the first estimate measured of a binding role is no longer told.
    assert "cliff.p" not in load(out).metrics
    assert "parse_validity.strict" in load(out).metrics
    assert main(arguments(planted, out)) == 0
    assert json.loads((out / "cliff.json").read_bytes()) == document


def test_more_rollouts_drop_the_estimate_of_the_fewer(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(arguments(planted, out, "--limit", "12")) == 0
    assert (out / "cliff.json").is_file()
    few = lines(out / SCORES)
    # Extended by `harness eval`, which knows nothing of the cliff.
    given = ["eval", "--ckpt", str(planted / "base"), "--engine", "hf", "--temperature", "1"]
    assert main([*given, *rollouts(planted), "--out", str(out), "--limit", "20"]) == 0
    assert not (out / "cliff.json").exists()
    assert not any(name.startswith("cliff.") for name in load(out).metrics)
    assert main(arguments(planted, out, "--limit", "20")) == 0
    assert json.loads((out / "cliff.json").read_bytes())["rollouts"]["drawn"] == 20
    assert lines(out / SCORES) == few + 2 * 8


def scores(key: str = "r") -> ClassScores:
    tail = float(np.log(-np.expm1(-0.1)))
    low = ClassMass(np.array([-1e-300, -np.inf, -0.1]), np.array([-700.0, 0.0, tail]))
    high = ClassMass(np.array([0.0, -3.0, -0.1]), np.array([-np.inf, np.log(-np.expm1(-3.0)), tail]))
    return ClassScores(key, np.array([-1 / 3, -np.inf, -2e-17]), MassBounds(low, high), 80)


def test_scores_read_back_to_the_last_bit(tmp_path: Path) -> None:
    with ScoreLog(tmp_path) as log:
        assert log.empty
        log.append("a", scores())
        exact = scores("exact")
        log.append("a", ClassScores("exact", exact.logprobs, MassBounds.exact(exact.masses.low), 0))
    with (tmp_path / SCORES).open("ab") as file:
        file.write(b'{"scorer":"a","key":"torn","lo')
    with ScoreLog(tmp_path) as log:
        found = log.of("a")
        assert set(found) == {"r", "exact"}
        assert log.of("b") == {}
        assert found["exact"].masses.is_exact
        log.append("b", scores("later"))
    assert [json.loads(line)["key"] for line in (tmp_path / SCORES).open()] == ["r", "exact", "later"]
    for mine, other in (
        (found["r"].logprobs, scores().logprobs),
        (found["r"].masses.low.log_mass, scores().masses.low.log_mass),
        (found["r"].masses.high.log_tail, scores().masses.high.log_tail),
    ):
        assert mine.tobytes() == other.tobytes()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / SCORES).write_bytes(b'{"scorer": "a"}\n')
    with pytest.raises(DataError, match=r"scores.jsonl:1: .*delete this line") as caught, ScoreLog(tmp_path):
        pass
    assert "\n" not in str(caught.value)
