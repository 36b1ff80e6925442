"""Pages of runs that lack something, don't go together, or are odd: sensible, and honest about it."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import get_args

import pytest

from harness.data.tasks import RankingTask
from harness.gate import Policy, decide
from harness.gate.record import write_record
from harness.report import Format, ReportConfig, report
from harness.report.groups import groups_of, lines
from harness.runs import Run, RunDirectory
from harness.runs.manifest import Stopped
from tests.report.page_reader import Page, read_page
from tests.report.report_runs import answers, judged, make_run, never, ranked, tasks, with_cliff


def page_of(*runs: Run, **options: object) -> Page:
    """The page of some runs, the first the baseline where nothing else is said."""
    paths = tuple(run.path for run in runs)
    options.setdefault("baseline", str(paths[0]))
    return read_page(report(ReportConfig(runs=paths, **options)).document)  # type: ignore[arg-type]


def said(page: Page) -> str:
    return " ".join(page.text.split())


def test_one_run(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "alone", tasks(30), answers(0.5)))
    assert "against" not in said(page).partition("Numbers side by side")[0]
    stored = json.loads((tmp_path / "alone" / "metrics.json").read_text())["ndcg_at_1.all"]["estimate"]
    assert f"NDCG@1 {stored:.3f} on all answers, failures as 0" in said(page)
    assert "Difference to" not in said(page)
    assert page.of("difference") == page.of("outcomes") == []
    assert {one.run for one in page.numbers} == {"alone"}
    assert page.rows["runs"] == ["alone"]


def test_different_datasets_are_not_compared(tmp_path: Path) -> None:
    first = make_run(tmp_path / "one" / "a", tasks(30, seed=1), answers(0.5))
    second = make_run(tmp_path / "two" / "b", tasks(30, seed=2), answers(0.9))
    page = page_of(first, second)
    assert "different datasets" in said(page)
    assert "not compared (not paired, see below)" in said(page)
    assert page.of("difference") == page.of("outcomes") == []
    # Both runs' numbers and samples are there all the same.
    assert {one.run for one in page.of("metrics")} == {"a", "b"}
    cells = [cells for _, _, cells in page.rows["rows"]]
    assert len(cells) == 60
    assert all((one is None) != (other is None) for one, other in cells)


def test_same_folder_names_are_told_apart(tmp_path: Path) -> None:
    rows = tasks(10)
    data = tmp_path / "tasks.jsonl"
    first = make_run(tmp_path / "one" / "run", rows, answers(0.5), data=data)
    second = make_run(tmp_path / "two" / "run", rows, answers(0.5), data=data)
    assert page_of(first, second).rows["runs"] == ["one/run", "two/run"]
    assert "baseline two/run" in said(page_of(first, second, baseline="two/run"))


def test_not_judged_and_not_measured_are_said(tmp_path: Path) -> None:
    rows = tasks(40)
    first = judged(make_run(tmp_path / "judged", rows, answers(0.9), seed=1))
    second = with_cliff(make_run(tmp_path / "measured", rows, answers(0.9), seed=2), 1.1)
    text = said(page_of(first, second))
    assert "Not judged: measured." in text
    assert "Not measured: judged." in text
    neither = said(page_of(make_run(tmp_path / "plain", rows, answers(0.9))))
    assert "Not judged: plain." in neither
    assert "Not measured: plain." in neither
    assert "no gate" in neither


def test_rubrics_are_compared_only_where_both_were_judged_by_the_same(tmp_path: Path) -> None:
    rows = tasks(40)
    first = judged(make_run(tmp_path / "a", rows, answers(0.9), seed=1))
    second = judged(make_run(tmp_path / "b", rows, answers(0.9), seed=2))
    other = judged(make_run(tmp_path / "c", rows, answers(0.9), seed=3), rubric_name="listwise-diversity")
    compared = {(one.run, one.metric) for one in page_of(first, second, other).of("difference")}
    assert ("b", "rubric.listwise-relevance") in compared
    assert not any(run == "c" and metric.startswith("rubric.") for run, metric in compared)


def test_nothing_parsed(tmp_path: Path) -> None:
    rows = tasks(30)
    page = page_of(
        make_run(tmp_path / "base", rows, answers(0.9)), make_run(tmp_path / "collapsed", rows, never)
    )
    text = said(page)
    assert "no sample parsed strictly" in text.lower()
    assert "ranking on what both parsed can't be compared (no task parsed in both)" in text
    assert "ranking on all answers worse by" in text
    assert "breaks its contract" in text
    ndcg = [one for one in page.of("metrics") if one.run == "collapsed" and one.metric == "ndcg_at_1.parsed"]
    assert {(one.field, one.value) for one in ndcg} == {("n", 0)}


def test_nothing_parsed_anywhere(tmp_path: Path) -> None:
    rows = tasks(20)
    page = page_of(make_run(tmp_path / "a", rows, never), make_run(tmp_path / "b", rows, never))
    assert "No sample parsed strictly on a task whose labels can rank" in said(page)


def test_everything_parsed(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "a", tasks(20), answers(1.0)))
    assert "Every sample of every run parsed strictly." in said(page)


def test_constrained_run(tmp_path: Path) -> None:
    rows = tasks(30)
    page = page_of(
        make_run(tmp_path / "free", rows, answers(0.6)),
        make_run(tmp_path / "held", rows, answers(1.0), constrained=True),
    )
    text = said(page)
    assert "form can't fail by construction" in text
    assert "sampling.constrained: False → True" in text


def test_incomplete_run(tmp_path: Path) -> None:
    rows = tasks(30)
    base = make_run(tmp_path / "base", rows, answers(0.9))
    run = make_run(tmp_path / "half", rows, answers(0.9), seed=2)
    lines = (run.path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (run.path / "samples.jsonl").write_bytes(b"".join(lines[:11]))
    with RunDirectory(run.path) as directory:
        directory.drop_metrics()
        directory.write_manifest(run.manifest.model_copy(update={"status": "incomplete", "finished": None}))
    page = page_of(base, run)
    text = said(page)
    assert "the run is incomplete: 11 of 30 samples" in text.lower()
    assert "contract not judged (11 of 30 samples are there)" in text
    assert not [one for one in page.of("metrics") if one.run == "half"]
    pairs = {one.value for one in page.of("difference") if one.field == "n" and one.metric == "ndcg_at_1.all"}
    assert pairs == {11}


def test_without_tasks_the_prompts_are_missed_and_nothing_else(tmp_path: Path) -> None:
    run = make_run(tmp_path / "old", tasks(20), answers(0.5))
    (run.path / "tasks.jsonl").unlink()
    page = page_of(run)
    assert "20 not there: no tasks.jsonl" in said(page)
    assert all(cells[0][7] == -1 for _, _, cells in page.rows["rows"])


def test_prompts_that_were_not_asked_are_not_shown(tmp_path: Path) -> None:
    """A tasks.jsonl that was changed by hand renders other prompts: their hashes tell."""
    run = make_run(tmp_path / "run", tasks(20), answers(0.5))
    rows = [json.loads(line) for line in (run.path / "tasks.jsonl").read_text().splitlines()]
    rows[3]["candidates"][0]["title"] = "Another thing"
    (run.path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = page_of(run)
    assert "19 rendered again from the run's tasks, their hash as recorded; 1 left out" in said(page)
    missing = [task_id for task_id, _, cells in page.rows["rows"] if cells[0][7] == -1]
    assert missing == [rows[3]["task_id"]]


def several(task: RankingTask, rng: random.Random) -> str:
    return json.dumps({"ranking": ranked(task, rng)}) if rng.random() < 0.6 else "no"


def test_several_samples_a_task(tmp_path: Path) -> None:
    rows = tasks(25)
    runs = [
        make_run(tmp_path / name, rows, several, seed=seed, samples=3, temperature=1.0)
        for seed, name in enumerate(("a", "b"))
    ]
    page = page_of(*runs)
    assert len(page.rows["rows"]) == 75
    assert {index for _, index, _ in page.rows["rows"]} == {0, 1, 2}
    strict = [one for one in page.of("difference") if one.metric == "parse_validity.strict"]
    # The unit of the test is the task, whose three samples belong together.
    assert {one.field: one.value for one in strict}["n"] == 25


def test_a_stale_gate_is_no_verdict(tmp_path: Path) -> None:
    """What it rested on was measured again: no output shows its verdict, nor judges the contract by it."""
    run = with_cliff(make_run(tmp_path / "run", tasks(60), answers(0.9)), 1.0)
    policy = Policy(rules=("parse_validity.strict >= 0.5", "cliff.verdict in [left]"))
    write_record(run.path, decide(run, policy), policy)
    assert "gate: pass" in said(page_of(run))
    assert "gated by parse_validity.strict" in said(page_of(run))
    with_cliff(run, 1.2, seed=5)
    made = {form: report(ReportConfig(runs=(run.path,)), form) for form in get_args(Format)}
    [decided] = made["json"].content.decided
    texts = [said(read_page(made["html"].document)), made["md"].document, decided.line]
    for text in texts:
        assert "gate: stale" in text
        assert "the cliff was measured anew" in text
        assert "gate: pass" not in text
        assert "gated by" not in text
        assert "default rule parse_validity.strict >= 0.95" in text
    [told] = json.loads(made["json"].document)["runs"]
    assert told["gate"] == "stale"
    assert told["gate_stale"] == ["the cliff was measured anew"]
    assert "gated by" not in told["sentence"]


def test_a_stopped_run_says_so_beside_its_numbers(tmp_path: Path) -> None:
    rows = tasks(60)
    base = make_run(tmp_path / "base", rows, answers(0.9), seed=1)
    run = make_run(tmp_path / "run", rows, answers(0.4), seed=2)
    with RunDirectory(run.path) as directory:
        directory.write_manifest(run.manifest.model_copy(update={"stopped": Stopped(tasks_used=60)}))
    label = "stopped early by the gate: the estimate is biased, the interval is a confidence sequence"
    made = {form: report(ReportConfig(runs=(run.path, base.path)), form) for form in get_args(Format)}
    page = read_page(made["html"].document)
    told = json.loads(made["json"].document)
    assert label in said(page).lower()
    assert label in made["md"].document
    assert "run (stopped early)" in made["md"].document
    assert label in made["md"].content.decided[0].line
    assert [one["stopped_early"] for one in told["runs"]] == [label, None]
    # No test of a fixed number of samples holds, and no default rule judges the contract.
    assert {one["verdict"] for one in told["comparisons"][0]["differences"].values()} == {"not tested"}
    assert not [one for one in page.of("difference") if one.field in ("low", "high", "p_holm")]
    assert "contract not judged (stopped early by the gate)" in told["runs"][0]["sentence"]
    assert "format not tested" in told["runs"][0]["sentence"]


def test_tiers_that_say_the_same_have_one_row(tmp_path: Path) -> None:
    rows = tasks(60)

    def short(task: RankingTask, rng: random.Random) -> str:
        ids = ranked(task, rng)
        return json.dumps({"ranking": ids if rng.random() < 0.7 else ids[:-1]})

    alike = page_of(*(make_run(tmp_path / name, rows, short, seed=seed) for seed, name in enumerate("ab")))
    metrics = {one.metric for source in ("metrics", "difference") for one in alike.of(source)}
    assert "parse_validity.strict" in metrics
    assert not metrics & {"parse_validity.lenient", "parse_validity.repaired"}
    assert "lenient and repaired: the same in every run" in said(alike)
    apart = page_of(make_run(tmp_path / "c", rows, answers(0.5)))
    assert {"parse_validity.lenient", "parse_validity.repaired"} <= {
        one.metric for one in apart.of("metrics")
    }
    assert "the same in every run" not in said(apart)


def test_code_in_the_text_of_the_cliff_is_set_as_code(tmp_path: Path) -> None:
    run = with_cliff(make_run(tmp_path / "run", tasks(30), answers(0.9)), 1.1)
    page = page_of(run)
    assert "`" not in page.text
    assert "separator" in page.text


def test_the_last_run_is_the_baseline_and_the_page_says_so(tmp_path: Path) -> None:
    rows = tasks(30)
    paths = [make_run(tmp_path / name, rows, answers(0.8), seed=seed).path for seed, name in enumerate("abc")]
    made = report(ReportConfig(runs=(paths[0], paths[1])))
    assert made.content.baseline is not None
    assert made.content.baseline.name == "b"
    assert made.content.title == "a against b"
    assert "Against b:" in said(read_page(made.document))
    assert "Against a:" in said(
        read_page(report(ReportConfig(runs=(paths[0], paths[1]), baseline="a")).document)
    )
    assert report(ReportConfig(runs=tuple(paths))).content.title == "a, b against c"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep's folder, as far as a report looks at it."""
    folder = tmp_path_factory.mktemp("sweep") / "first"
    rows, data = tasks(120), folder.parent / "tasks.jsonl"
    for lam in (1.0, 1.5):
        for seed in (2, 10):
            inner = folder / "runs" / "mask" / f"lambda-{lam}" / f"seed-{seed}"
            make_run(inner / "eval", rows, answers(0.3 if lam > 1.2 else 1.0), data=data, seed=seed)
            (inner / "train").mkdir()
            (inner / "train" / "manifest.json").write_text(json.dumps({"kind": "opd", "lambda": lam}))
    make_run(folder / "base", rows, answers(0.9), data=data, seed=1)
    return folder


def test_a_sweep_is_reported_by_its_folder(swept: Path) -> None:
    made = report(ReportConfig(runs=(swept,)))
    content = made.content
    assert [facts.name for facts in content.runs] == [
        "lambda-1.0/seed-2", "lambda-1.0/seed-10", "lambda-1.5/seed-2", "lambda-1.5/seed-10", "base",
    ]  # fmt: skip
    assert content.title == "4 runs of first against base"
    labels = [group.label for group in groups_of(content)]
    assert labels == ["", "λ = 1", "λ = 1.5"]
    text = said(read_page(made.document))
    stored = [
        json.loads((swept / "runs/mask/lambda-1.5" / seed / "eval/metrics.json").read_text())
        for seed in ("seed-2", "seed-10")
    ]
    low, high = sorted(100 * one["parse_validity.strict"]["estimate"] for one in stored)
    assert f"λ = 1.5, 2 runs: strict {low:.1f} … {high:.1f} %" in text
    assert "format worse in 2 of 2" in text
    assert [line.partition(",")[0] for line in lines(content)][1:] == ["λ = 1", "λ = 1.5"]
    markdown = report(ReportConfig(runs=(swept,)), "md").document
    assert "- **λ = 1.5**, 2 runs: strict" in markdown
    one_arm = report(ReportConfig(runs=(swept / "runs" / "mask" / "lambda-1.5",), baseline="seed-2"))
    assert [facts.name for facts in one_arm.content.runs] == ["seed-2", "seed-10"]


def test_few_rows_hold_every_combination(tmp_path: Path) -> None:
    rows = tasks(300)
    runs = [make_run(tmp_path / name, rows, answers(0.85), seed=seed) for seed, name in enumerate(("a", "b"))]
    combinations = {(cells[0][1], cells[1][1]) for _, _, cells in page_of(*runs).rows["rows"]}
    few = page_of(*runs, max_samples=len(combinations)).rows["rows"]
    assert {(cells[0][1], cells[1][1]) for _, _, cells in few} == combinations
    assert len(few) == len(combinations)


def test_long_outputs_get_fewer_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def long(task: RankingTask, rng: random.Random) -> str:
        return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=1900))

    run = make_run(tmp_path / "run", tasks(400), long)
    monkeypatch.setattr("harness.report.job.LARGEST_DATA", 300_000)
    made = report(ReportConfig(runs=(run.path,)))
    assert len(read_page(made.document).data) <= 300_000
    assert 50 <= made.rows < 400
    assert report(ReportConfig(runs=(run.path,), max_samples=400)).rows == 400


@pytest.fixture
def sweep(tmp_path: Path) -> list[Run]:
    rows = tasks(40)
    return [
        make_run(tmp_path / name, rows, answers(share), seed=seed)
        for seed, (name, share) in enumerate((("low", 0.6), ("middle", 0.9), ("high", 0.1)))
    ]


def test_a_sweep_is_drawn_with_its_band(sweep: list[Run]) -> None:
    runs = [with_cliff(run, lam) for run, lam in zip(sweep, (1.0, 1.1, 1.5), strict=True)]
    text = said(page_of(*runs))
    low, high = (runs[0].metrics["cliff.lambda_star"].low, runs[0].metrics["cliff.lambda_star"].high)
    assert f"the band is the predicted λ*, {low:.3f} … {high:.3f} (low)" in text


def test_lambda_from_the_training_run_beside_the_checkpoint(sweep: list[Run], tmp_path: Path) -> None:
    for run, lam in zip(sweep, (1.0, 1.25, 2.5), strict=True):
        training = tmp_path / f"train-{run.path.name}"
        training.mkdir()
        (training / "manifest.json").write_text(json.dumps({"kind": "opd", "lambda": lam}))
        engine = run.manifest.engine.model_copy(update={"checkpoint": str(training / "checkpoint")})
        with RunDirectory(run.path) as directory:
            directory.write_manifest(run.manifest.model_copy(update={"engine": engine}))
    page = page_of(*sweep)
    assert "Against λ; no run says where λ* is predicted" in said(page)
    assert re.search(r"1\.25\s*middle", page.text)


def test_lambda_given_by_hand(sweep: list[Run]) -> None:
    page = page_of(*sweep, lambdas={"middle": 1.1, "high": 1.4}, x="lambda")
    assert "Without a λ, so not in the plot: low." in said(page)
    assert "Against λ" not in said(page_of(*sweep, lambdas={"middle": 1.1, "high": 1.4}))


def test_unusual_contract(tmp_path: Path) -> None:
    from harness.contract import Contract

    def write(task: RankingTask, rng: random.Random) -> str:
        ids = [str(number) for number in ranked(task, rng)]
        return json.dumps({"the order": ids if rng.random() < 0.5 else ids[:-1]})

    contract = Contract(key="the order", id_style="string")
    page = page_of(make_run(tmp_path / "run", tasks(20), write, contract=contract))
    for _, _, [cell] in page.rows["rows"]:
        # A list that is one short fails at the bracket that closes it too early.
        assert cell[3] == (-1 if cell[1] < 0 else cell[2].index("]"))
