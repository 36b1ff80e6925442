"""What a forecast can't be made of: one line that says so, the right exit code, and nothing drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.data.fashion_mini import generate_tasks
from harness.engines import EngineConfig
from harness.evaluate import EvalConfig, evaluate
from harness.forecast.look import LOOK
from harness.runs.forecast_record import FORECAST, Forecast
from harness.stats.falling import LargestLevel

pytest.importorskip("torch")
pytestmark = pytest.mark.model

PAIR = ["--teacher", "zoo:teacher", "--base", "zoo:base"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Runs of recorded answers, which no checkpoint drew: one at T = 1 and a greedy one."""
    folder = tmp_path_factory.mktemp("recorded")
    rows = generate_tasks("test", 3, 0, 4)
    (folder / "data.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    answers = [{"task_id": row.task_id, "text": '{"ranking": [1, 2, 3, 4]}'} for row in rows]
    (folder / "answers.jsonl").write_text("".join(json.dumps(one) + "\n" for one in answers))
    for name, temperature in (("drawn", 1.0), ("greedy", 0.0)):
        engine = EngineConfig(engine="replay", replay=folder / "answers.jsonl")
        data = {"data": str(folder / "data.jsonl"), "temperature": temperature}
        evaluate(EvalConfig(engine=engine, out=folder / name, **data))
    other = Forecast("t", "b", 0.0, 0.95, (), LargestLevel(None, None, None), checkpoints={"teacher": "1"})
    unlike = {"torn": "{", "list": "[1, 2]", "empty": "{}", "shapeless": '{"format_version": 1, "points": 3}'}
    for name, text in {"other": json.dumps(other.to_dict()), **unlike}.items():
        (folder / name).mkdir()
        (folder / name / FORECAST).write_text(text)
    return {name: str(folder / name) for name in ("drawn", "greedy", "other", *unlike)}


CASES = [
    (["--teacher", "zoo:teacher", "--base", "TINY"], "have different vocabularies"),
    (["--teacher", "zoo:base", "--base", "zoo:base"], "are the same weights"),
    ([*PAIR, "--lambdas", "1.0000001,1.0000002"], "alike in six digits"),
    ([*PAIR, "--teacher-device", "cuda:9"], "can't load zoo:teacher"),
    ([*PAIR, "--lambdas", "1,-1"], "--lambdas 1,-1: write numbers from 0 on"),
    ([*PAIR, "--lambdas", "one"], "write numbers from 0 on, such as 1,1.2,1.5"),
    ([*PAIR, "--lambdas", ","], "write numbers from 0 on, such as 1,1.2,1.5"),
    ([*PAIR, "--lambdas", "1,,2"], "--lambdas 1,,2: write numbers from 0 on"),
    ([*PAIR, "--bar", "1"], "--bar"),
    ([*PAIR, "--plausible", "2"], "--plausible"),
    ([*PAIR, "--student", "TINY"], "another vocabulary than zoo:teacher"),
    ([*PAIR, "--student", "nowhere/there"], "nowhere/there"),
    ([*PAIR, "--base-device", "nope:1"], "nope"),
    ([*PAIR, "--out", "other"], "holds the forecast of another pair (t and b)"),
    ([*PAIR, "--out", "torn"], "can't be read as a forecast"),
    ([*PAIR, "--out", "list"], "can't be read as a forecast (it holds something else); forecast again"),
    ([*PAIR, "--out", "empty"], "can't be read as a forecast (it holds something else); forecast again"),
    ([*PAIR, "--out", "shapeless"], "can't be read as a forecast (teacher is missing or misshapen)"),
    ([*PAIR, "--from", "drawn"], "isn't on the line of this teacher and base"),
    ([*PAIR, "--from", "greedy"], "was drawn greedily"),
    ([*PAIR, "--from", "nowhere"], "nowhere"),
    ([*PAIR, "--from", "drawn", "--limit", "3"], "--limit is for a forecast that draws"),
]


@pytest.mark.parametrize(("given", "said"), CASES, ids=[" ".join(one[0][4:] or one[0]) for one in CASES])
def test_one_line_and_nothing_drawn(
    given: list[str],
    said: str,
    recorded: dict[str, str],
    tiny_qwen3: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [recorded.get(word, str(tiny_qwen3) if word == "TINY" else word) for word in given]
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    code = main(["forecast", "--device", "cpu", "--lambdas", "1", *words, *out])
    shown = capsys.readouterr()
    errors = [line for line in shown.err.splitlines() if "error" in line]
    assert (code, shown.out) == (2, "")
    assert len(errors) == 1
    assert said in errors[0]
    assert not (tmp_path / "out" / "lambda-1" / "samples.jsonl").exists()
    assert not (tmp_path / "out" / LOOK).exists()


def test_a_swapped_pair_is_forecast_and_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A teacher that doesn't know the contract, a base that does, and a grid that ends before any fall."""
    given = ["--teacher", "zoo:base", "--base", "zoo:teacher", "--lambdas", "0,1", "--limit", "16"]
    assert main(["forecast", *given, "--device", "cpu", "--out", str(tmp_path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the teacher itself keeps the contract in" in said
    assert "the base keeps the contract better than the teacher" in said
    assert "are the two swapped?" in said
    # And the answers just drawn can be weighted, but at their own λ alone they are too few for a number.
    again = ["forecast", *given[:4], "--from", str(tmp_path / "lambda-1"), "--lambdas", "1,1.5"]
    assert main([*again, "--device", "cpu", "--out", str(tmp_path / "look")]) == 0
    looked = json.loads((tmp_path / "look" / LOOK).read_bytes())["points"]
    assert [one["drawn_at"] for one in looked] == [1.0, 1.0]
    assert looked[0]["effective"] == pytest.approx(16.0)
    assert [one["unseen"] for one in looked] == [None, None]
    assert looked[1]["effective"] < 16.0
    shown = capsys.readouterr().out
    assert "16 of 16" in shown
    assert "0.0%" not in shown
    # λ = 1 is the teacher whatever the mask, and drawn by the target's engine too.
    assert main([*again, "--plausible", "0.2", "--device", "cpu", "--out", str(tmp_path / "masked")]) == 0
    assert json.loads((tmp_path / "masked" / LOOK).read_bytes())["points"][0]["drawn_at"] == 1.0
    # The same pair with a mask is no other pair.
    given += ["--plausible", "0.2", "--device", "cpu", "--out", str(tmp_path)]
    capsys.readouterr()
    assert main(["forecast", *given]) == 2
    assert "holds the forecast of this pair with" in capsys.readouterr().err
    assert looked[0]["refused"] == "16 effective answers, and 100 are needed"
