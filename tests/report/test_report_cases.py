"""Pages of runs that lack something, don't go together, or are odd: sensible, and honest about it."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from harness.data.tasks import RankingTask
from harness.errors import DataError
from harness.evaluate.scoring import rescore
from harness.report import ReportConfig, report
from harness.runs import Run, RunDirectory
from harness.runs.seals import opened_document
from tests.report.page_reader import Page, read_page
from tests.report.report_runs import answers, judged, make_run, never, ranked, tasks, with_cliff
from tests.resealing import rows_of, write_rows


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
    assert "not compared (" in said(page)
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


def as_an_older_version_wrote_it(path: Path) -> None:
    """Without checksums, and without digests of what the metrics were made from."""
    lines = [json.dumps(row) + "\n" for row in rows_of(path / "samples.jsonl")]
    (path / "samples.jsonl").write_text("".join(lines))
    for name in ("manifest.json", "metrics.json"):
        content, _ = opened_document((path / name).read_bytes())
        kept = {key: value for key, value in content.items() if key != "source"}
        if name == "manifest.json":
            kept["format_version"] = 1
        (path / name).write_text(json.dumps(kept))


def test_without_tasks_the_prompts_are_missed_and_nothing_else(tmp_path: Path) -> None:
    """A run of an older version may have been passed on without them; one of today isn't whole then."""
    run = make_run(tmp_path / "old", tasks(20), answers(0.5))
    (run.path / "tasks.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no tasks\.jsonl any more"):
        page_of(run)
    as_an_older_version_wrote_it(run.path)
    page = page_of(run)
    assert "20 not there: no tasks.jsonl" in said(page)
    assert all(cells[0][7] == -1 for _, _, cells in page.rows["rows"])


def test_prompts_that_were_not_asked_are_not_shown(tmp_path: Path) -> None:
    """A tasks.jsonl that was changed by hand renders other prompts: their hashes tell."""
    run = make_run(tmp_path / "run", tasks(20), answers(0.5))
    rows = rows_of(run.path / "tasks.jsonl")
    rows[3]["candidates"][0]["title"] = "Another thing"
    write_rows(run.path / "tasks.jsonl", rows)
    rescore(run.path)
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
