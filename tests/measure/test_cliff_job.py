"""`harness cliff` from checkpoints to `cliff.json`, against the planted masses."""

from __future__ import annotations

import json
import math
import shutil
from collections import defaultdict
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import pytest

pytest.importorskip("transformers")

from harness.cli import main
from harness.cli.cliff import cliff
from harness.cliff import CliffResult, fixed_point, lambda_star
from harness.errors import DataError, EngineUnavailableError, HarnessError
from harness.evaluate import EvalConfig, evaluate
from harness.gate import decide
from harness.gate.expression import PolicyError
from harness.gate.policy import Policy
from harness.measure import CliffConfig, cliff_of_run
from harness.runs import load
from tests.checkpoints.planted_bigram import (
    BASE,
    END,
    GARBAGE,
    START,
    TEACHER,
    PlantedMasses,
    token_ids,
    write_planted,
    write_tasks,
)
from tests.checkpoints.tiny_qwen3 import write_tiny_qwen3

pytestmark = pytest.mark.model

C = 5.0
TASKS = 48


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    write_planted(folder / "teacher", TEACHER)
    write_planted(folder / "base", BASE)
    write_tasks(folder / "tasks.jsonl", TASKS)
    return folder


def arguments(folder: Path, out: Path, *more: str) -> list[str]:
    return [
        *("--teacher", str(folder / "teacher"), "--base", str(folder / "base"), "--engine", "hf"),
        *("--data", str(folder / "tasks.jsonl"), "--device", "cpu", "--max-tokens", "16"),
        *("--out", str(out), *more),
    ]


def run_cliff(given: list[str]) -> None:
    cliff.main(given, prog_name="harness cliff", standalone_mode=False)


@pytest.fixture(scope="module")
def measured_once(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    more = ("--student", str(planted / "base"), "--lambda", "1.02", "--clip", str(C), "--samples", "2")
    run_cliff(arguments(planted, out, *more))
    return out


@pytest.fixture
def measured(measured_once: Path, tmp_path: Path) -> Path:
    """A copy: some tests measure again with another λ or c."""
    return shutil.copytree(measured_once, tmp_path / "measured")


def planted_means(out: Path, folder: Path) -> dict[str, tuple[float, float, int]]:
    """Mean planted tail of teacher and base and number of decisions of each role, from the stored samples."""
    text = {index: token for token, index in token_ids(folder / "base").items()}
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for sample in load(out).iter_samples():
        before, last = START, ""
        for token_id in sample.token_ids:
            role, p = TEACHER.at(before)
            b = BASE.at(before)[1]
            if role == last:
                # One decision in two tokens: `ranking` and the quote behind it.
                first = found[role].pop()
                p, b = p * (1 - first[0]), b * (1 - first[1])
            found[role].append((1 - p, 1 - b))
            last = role
            token = text[token_id]
            repeated = token in (" 1", " 2") and f"[{token.strip()}" in sample.text.replace(" ", "")
            if token in (GARBAGE, END) or repeated:
                break
            before = token
    return {
        role: (sum(t for t, _ in rows) / len(rows), sum(b for _, b in rows) / len(rows), len(rows))
        for role, rows in found.items()
    }


def test_planted_p_b_and_threshold_are_recovered(measured: Path, planted: Path) -> None:
    document = json.loads((measured / "cliff.json").read_bytes())
    expected = planted_means(measured, planted)
    assert set(expected) >= {"open", "key", "list_open", "unused_id", "separator", "list_close", "end"}
    for role in document["estimate"]["role"]["roles"]:
        if role["n_positions"] == 0:
            assert role["role"] not in expected
            continue
        tail, base_tail, count = expected[role["role"]]
        assert role["n_positions"] == count
        assert role["p"]["estimate"] == pytest.approx(1 - tail, abs=1e-6)
        assert role["b"]["estimate"] == pytest.approx(1 - base_tail, abs=1e-6)
        if role["lambda_star"]["value"] is not None:
            star = lambda_star(1 - tail, 1 - base_tail, C)
            assert role["lambda_star"]["value"] == pytest.approx(star, rel=1e-4)
    result = CliffResult.from_dict(document)
    assert result.binding is not None
    smallest = min(
        (lambda_star(1 - tail, 1 - base_tail, C), role) for role, (tail, base_tail, _) in expected.items()
    )
    assert result.estimate.role.first is not None
    assert result.estimate.role.first.role == smallest[1]
    tails = {role: tail * count for role, (tail, _, count) in expected.items()}
    assert result.binding.role == max(tails, key=lambda role: tails[role])
    assert result.verdict == "left" or not all(one.met for one in result.preconditions)


def test_a_class_of_one_token_has_no_gap_and_another_has_its_own(measured: Path, planted: Path) -> None:
    """Planted tails are one token, and so is a class where no spelling is left: there the coin is exact."""
    result = CliffResult.from_dict(json.loads((measured / "cliff.json").read_bytes()))
    fixed = result.fixed_points
    assert fixed is not None
    assert (fixed.ratio.edge, fixed.missing, fixed.lambdas[0]) == ("teacher", "", 1.0)
    assert result.lam in fixed.lambdas
    expected = planted_means(measured, planted)
    for one in fixed.roles:
        assert (one.n, one.edge) == (
            expected[one.role][2],
            pytest.approx(expected[one.role][0] / C, rel=1e-4),
        )
        assert one.target_tail is not None
        assert one.target_tail.n == one.n
    for role in ("open", "separator", "end"):
        found = fixed.at(role)
        assert found is not None
        assert found.times == pytest.approx(1.0, rel=1e-3)
    assert "times the coin's" in result.explanation


def test_what_the_file_holds(measured: Path) -> None:
    document = json.loads((measured / "cliff.json").read_bytes())
    # The student is the base's checkpoint here, which is scored once.
    assert [model["roles"] for model in document["models"]] == [["teacher"], ["base", "student"]]
    assert all(model["exact"] for model in document["models"])
    assert document["rollouts"]["drawn"] == 2 * TASKS
    assert document["observed"] in ("left", "right", "on_cliff")
    assert document["clip_demand"]["n"] > 0
    metrics = load(measured).metrics
    assert metrics["cliff.lambda_star"].estimate == document["lambda_star"]["value"]
    assert "parse_validity.strict" in metrics
    assert [token["role"] for token in document["strip"]][:2] == ["open", "key"]
    assert all(math.isfinite(token["p"]) for token in document["strip"])


def test_again_gives_the_same_and_draws_nothing(
    measured: Path, planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((measured / "cliff.json").read_bytes())
    samples = (measured / "samples.jsonl").read_bytes()
    more = ("--student", str(planted / "base"), "--lambda", "1.02", "--clip", str(C), "--samples", "2")
    run_cliff(arguments(planted, measured, *more, "--json"))
    after = json.loads(capsys.readouterr().out)
    assert (measured / "samples.jsonl").read_bytes() == samples
    assert after["estimate"] == before["estimate"]
    assert after["verdict"] == before["verdict"]


def test_tables_name_the_binding_role_and_both_sides(
    measured: Path, planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--student", str(planted / "base"), "--lambda", "9", "--clip", str(C), "--samples", "2")
    run_cliff(arguments(planted, measured, *more))
    out = capsys.readouterr().out
    document = json.loads((measured / "cliff.json").read_bytes())
    assert f"▸ {document['binding']['role']}" in out
    assert f"predicted: {document['verdict']}" in out
    assert f"observed: {document['observed']}" in out
    for word in ("Preconditions", "Calibrations", "sequence", "λ* at ½"):
        assert word in out


def test_inside_an_evaluation(planted: Path, tmp_path: Path) -> None:
    evaluation = EvalConfig.model_validate(
        {
            "engine": {"engine": "hf", "ckpt": str(planted / "base"), "device": "cpu"},
            "data": str(planted / "tasks.jsonl"),
            "limit": 12,
            "max_tokens": 16,
            "out": tmp_path / "run",
        }
    )
    run = evaluate(evaluation)
    config = CliffConfig(
        evaluation=evaluation,
        teacher=str(planted / "teacher"),
        base=str(planted / "base"),
        student=str(planted / "base"),
        lam=1.1,
        clip=C,
        resamples=200,
    )
    report = cliff_of_run(config, run)
    assert (tmp_path / "run" / "cliff.json").is_file()
    assert report.rollouts == tmp_path / "run" / "rollouts"
    assert load(report.rollouts).manifest.sampling["temperature"] == 1.0
    assert "cliff.lambda_star" in load(run.path).metrics
    assert load(run.path).manifest.sampling["temperature"] == 0.0


def on_the_line(lam: float) -> PlantedMasses:
    """π_λ of the planted pair, whose classes have one shape inside: the coin's fixed point at each place."""
    found = {}
    for field in fields(PlantedMasses):
        both = 2.0 if field.name == "second_id_each" else 1.0
        p, b = (both * getattr(one, field.name) for one in (TEACHER, BASE))
        found[field.name] = float(fixed_point(lam, p, b)) / both
    return PlantedMasses(**found)


def test_a_student_is_placed_on_the_line_and_gated_there(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Off the line at one place, where it writes worse than its base.
    write_planted(tmp_path / "student", replace(on_the_line(1.1), list_open=0.93))
    run_cliff(
        arguments(
            *(planted, tmp_path / "run"),
            *("--student", str(tmp_path / "student"), "--lambda", "2", "--clip", "5", "--samples", "4"),
        )
    )
    document = json.loads((tmp_path / "run" / "cliff.json").read_bytes())
    reached, off = document["lambda_reached"], document["off_the_line"]
    assert set(reached) == {"n", "estimate", "low", "high", "method"}
    assert reached["estimate"] < 1.1
    assert 0.0 < off["low"] < off["estimate"] < off["high"] < 0.05
    assert document["reached"].startswith("on the line and short of λ = 2: λ reached ")
    printed = " ".join(capsys.readouterr().out.split())
    assert document["reached"][:40] in printed
    assert "The student by role" in printed
    require_roles(document, tmp_path / "run")
    run = load(tmp_path / "run")
    assert run.metrics["reached.lambda"].estimate == reached["estimate"]
    for rule, verdict in (
        ("reached.lambda <= 1.5", "pass"),
        ("reached.lambda <= 0.1", "fail"),
        ("reached.off_line <= 0.05", "pass"),
    ):
        assert decide(run, Policy(rules=(rule,))).rules[0].verdict == verdict
    with pytest.raises(PolicyError, match=r"reached\.lambda"):
        decide(run, Policy(rules=("reached.lamda <= 1.5",)))


def require_roles(document: dict[str, Any], run: Path) -> None:
    """Inside its classes the pair has one shape, so that at each place the line is that of a coin."""
    roles = {one["role"]: one for one in document["reached_by_role"]}
    tokens = sum(len(sample.token_ids) for sample in load(run).iter_samples())
    assert sum(one["tokens"] for one in roles.values()) == tokens
    at = {name: one["lambda_reached"]["estimate"] for name, one in roles.items()}
    p, b = (math.log(one.list_open / (1.0 - one.list_open)) for one in (TEACHER, BASE))
    assert at.pop("list_open") == pytest.approx((math.log(0.93 / 0.07) - b) / (p - b), abs=0.01)
    assert {"elsewhere", "separator", "unused_id"} < at.keys()
    for name, estimate in at.items():
        assert estimate == pytest.approx(1.1, abs=0.01), name
        assert roles[name]["off_the_line"]["estimate"] == pytest.approx(0.0, abs=1e-5)
        assert roles[name]["lambda_reached"]["low"] <= 1.1 <= roles[name]["lambda_reached"]["high"]


def test_sums_of_an_earlier_version_are_read_and_made_anew(measured: Path, planted: Path) -> None:
    line = measured / "line.jsonl"
    document = json.loads((measured / "cliff.json").read_bytes())
    rows = [json.loads(row) for row in line.read_text().splitlines()]
    assert all(set(row.pop("roles")) <= {one["role"] for one in document["reached_by_role"]} for row in rows)
    line.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    more = ("--student", str(planted / "base"), "--lambda", "1.02", "--clip", str(C), "--samples", "2")
    run_cliff(arguments(planted, measured, *more))
    assert (
        json.loads((measured / "cliff.json").read_bytes())["reached_by_role"] == document["reached_by_role"]
    )


def test_an_evaluation_places_a_checkpoint_without_a_clip(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_planted(tmp_path / "student", on_the_line(1.1))
    given = ["eval", "--ckpt", str(tmp_path / "student"), "--engine", "hf", "--device", "cpu"]
    given += ["--data", str(planted / "tasks.jsonl"), "--limit", "9", "--max-tokens", "16"]
    given += ["--out", str(tmp_path / "run"), "--base", str(planted / "base")]
    assert main(given) == 2
    assert "give --teacher too" in capsys.readouterr().err
    given += ["--teacher", str(planted / "teacher")]
    assert main([*given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    # Greedy answers are no rollouts.
    assert told["cliff"]["rollouts"]["run"] == "rollouts"
    assert told["cliff"]["lambda_reached"]["estimate"] == pytest.approx(1.1, abs=0.003)
    assert told["cliff"]["reached"].startswith("on the line and past its teacher, λ = 1: λ reached 1.1")
    assert told["metrics"]["reached.lambda"] == told["cliff"]["lambda_reached"]
    run = load(tmp_path / "run")
    assert decide(run, Policy(rules=("reached.lambda <= 1.2",))).rules[0].verdict == "pass"
    with pytest.raises(DataError, match="holds no estimate of λ"):
        decide(run, Policy(rules=("cliff.verdict in [left]",)))
    assert main(["rescore", str(tmp_path / "run")]) == 0
    assert "reached.lambda" in load(tmp_path / "run").metrics
    capsys.readouterr()
    assert main([*given, "--lambda", "1.1"]) == 0
    assert "The student: on the line at about λ = 1.1" in " ".join(capsys.readouterr().out.split())
    assert main(["report", str(tmp_path / "run"), "-o", str(tmp_path / "report.html")]) == 0


def test_a_planted_mixture_lies_on_the_line(planted: Path, tmp_path: Path) -> None:
    write_planted(tmp_path / "student", on_the_line(1.1))
    more = ("--student", str(tmp_path / "student"), "--lambda", "1.1", "--clip", "5")
    run_cliff(arguments(planted, tmp_path / "run", *more))
    document = json.loads((tmp_path / "run" / "cliff.json").read_bytes())
    assert document["lambda_reached"]["estimate"] == pytest.approx(1.1, abs=0.003)
    assert document["off_the_line"]["estimate"] == pytest.approx(0.0, abs=1e-5)


def test_a_base_has_reached_nothing(measured: Path) -> None:
    document = json.loads((measured / "cliff.json").read_bytes())
    assert document["lambda_reached"]["estimate"] == pytest.approx(0.0, abs=1e-3)
    assert document["along_the_line"]["estimate"] is None
    assert document["reached"].startswith("it has hardly left its base")


def test_models_that_do_not_fit_together_leave_the_verdict(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("harness.engines.hf_line._batch", full)
    more = ("--student", str(planted / "base"), "--lambda", "1.1", "--clip", "5", "--limit", "8")
    run_cliff(arguments(planted, tmp_path / "run", *more))
    document = json.loads((tmp_path / "run" / "cliff.json").read_bytes())
    assert document["lambda_reached"] is None
    assert "not placed on the line: cpu ran out of memory" in document["reached"]
    assert document["verdict"]


def test_other_tokenizers_are_refused_before_anything_runs(planted: Path, tmp_path: Path) -> None:
    other = write_tiny_qwen3(tmp_path / "other")
    content = json.loads((other / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(content))
    given = arguments(planted, tmp_path / "run", "--lambda", "1.1", "--clip", "5")
    given[1] = str(other)
    with pytest.raises(EngineUnavailableError, match=r"other and .*base have different vocabularies"):
        run_cliff(given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (("--lambda", "0", "--clip", "5"), HarnessError, "λ must be finite and above 0"),
        (("--lambda", "nan", "--clip", "5"), HarnessError, "λ must be finite"),
        (("--lambda", "1.1", "--clip", "1"), DataError, "above 1"),
        (("--lambda", "1.1"), HarnessError, "exactly one of `clip=`"),
        (("--lambda", "1.1", "--clip", "5", "--ratios", "x.jsonl"), HarnessError, "exactly one of `clip=`"),
        (("--clip", "5"), HarnessError, "--lambda"),
        (("--lambda", "1.1", "--clip", "5", "--grid", "0"), click.ClickException, "not in the range x>0"),
    ],
)
def test_bad_options(
    planted: Path, tmp_path: Path, more: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        run_cliff(arguments(planted, tmp_path / "run", *more))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_ratios_that_never_exceed_one_are_refused_before_anything_runs(planted: Path, tmp_path: Path) -> None:
    (tmp_path / "ratios.jsonl").write_text('{"ratio": 1.0}\n' * 50)
    given = arguments(
        planted, tmp_path / "run", "--lambda", "1.1", "--ratios", str(tmp_path / "ratios.jsonl")
    )
    with pytest.raises(HarnessError, match="exceeds 1, so nothing is known of c"):
        run_cliff(given)
    assert not (tmp_path / "run").exists()


def test_lambda_and_clip_come_from_an_opd_run(measured: Path, planted: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "opd", "lambda": 1.04, "clip": 3.0}))
    more = ("--student", str(planted / "base"), "--clip-from", str(tmp_path), "--samples", "2")
    run_cliff(arguments(planted, measured, *more))
    document = json.loads((measured / "cliff.json").read_bytes())
    assert (document["lam"], document["clip"]["value"]) == (1.04, 3.0)
    assert document["clip"]["source"] == "config"


def test_no_rollout_reaches_past_the_first_role(planted: Path, tmp_path: Path) -> None:
    """A base that never opens the object: the report says which roles nothing is known of."""
    never = write_planted(tmp_path / "never", TEACHER.__class__(*[1e-9] * 11))
    given = arguments(planted, tmp_path / "run", "--lambda", "1.1", "--clip", "5", "--limit", "9")
    given[3] = str(never)
    run_cliff(given)
    result = CliffResult.from_dict(json.loads((tmp_path / "run" / "cliff.json").read_bytes()))
    status = {role.role: role.lambda_star.status for role in result.estimate.role.roles}
    assert status["separator"] == "not_reached"
    assert status["open"] != "not_reached"
    assert "No rollout reaches `key`, `colon`," in result.explanation
    assert result.explanation.count("o rollout reaches") == 1


def test_empty_rollouts_are_refused(measured: Path, planted: Path, tmp_path: Path) -> None:
    from harness.engines import EngineConfig, open_engine
    from harness.rollouts import rollouts_of_run
    from harness.runs import Run

    class Emptied(Run):
        def iter_samples(self) -> Any:
            for line in (measured / "samples.jsonl").read_text().splitlines():
                row = json.loads(line) | {"token_ids": [], "text": ""}
                yield type(next(iter(load(measured).iter_samples()))).from_line(json.dumps(row))

    run = load(measured)
    emptied = Emptied(run.path, run.manifest, run.metrics)
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(planted / "base")))
    with pytest.raises(DataError, match="every completion is empty"):
        rollouts_of_run(emptied, engine.encode)


def test_harness_eval_writes_the_same_file(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["eval", "--ckpt", str(planted / "base"), "--engine", "hf", "--device", "cpu", "--limit", "9"]
    given += ["--data", str(planted / "tasks.jsonl"), "--max-tokens", "16", "--temperature", "1"]
    given += ["--teacher", str(planted / "teacher"), "--base", str(planted / "base"), "--lambda", "1.1"]
    assert main([*given, "--clip-key", "eps", "--out", str(tmp_path / "none")]) == 2
    assert "--clip-key goes with --clip" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert main([*given, "--clip", "5", "--out", str(tmp_path / "run"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "cliff.lambda_star" in told["metrics"]
    document = json.loads((tmp_path / "run" / "cliff.json").read_bytes())
    # What seals the file is of the file alone.
    assert told["cliff"] == {name: one for name, one in document.items() if name not in ("seal", "source")}
    # Drawn at T = 1 already, so its own samples are the rollouts.
    assert document["rollouts"]["run"] == "."
    assert document["rollouts"]["from"] == "student"


def test_the_grammar_engine_measures_what_the_automaton_does(
    measured_once: Path, planted: Path, tmp_path: Path
) -> None:
    """A contract that says the same in words only the grammar engine reads: same rollouts, same masses."""
    contract = tmp_path / "contract.yaml"
    same = load(measured_once).manifest.contract.model_copy(update={"schema_": '{"type":"object"}'})
    contract.write_text(same.model_dump_json(), encoding="utf-8")
    more = ("--student", str(planted / "base"), "--lambda", "1.02", "--clip", str(C), "--samples", "2")
    run_cliff(arguments(planted, tmp_path / "run", *more, "--contract", str(contract)))
    assert not load(tmp_path / "run").manifest.contract.is_plain
    ours, theirs = (
        json.loads((folder / "cliff.json").read_bytes())["estimate"]["role"]["roles"]
        for folder in (measured_once, tmp_path / "run")
    )
    assert [one for one in theirs if one["n_positions"]] == [one for one in ours if one["n_positions"]]


def test_a_schema_without_classes_is_refused_before_anything_is_drawn(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"not": {"type": "string"}}', encoding="utf-8")
    more = ("--lambda", "1.02", "--clip", str(C), "--contract", f"schema:{schema}")
    assert main(["cliff", *arguments(planted, tmp_path / "run", *more)]) == 2
    error = capsys.readouterr().err
    assert 'no classes of next tokens for this contract: Unimplemented keys: ["not"]' in error
    assert not (tmp_path / "run").exists()
