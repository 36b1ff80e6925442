"""Stale gates, stopped runs, tiers that are alike, the choice of the baseline, a sweep's folder."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import get_args

import pytest

from harness.cliff.placement import Placement
from harness.cliff.reached import RoleReached
from harness.data.tasks import RankingTask
from harness.evaluate.scoring import rescore
from harness.gate import Policy, decide
from harness.gate.record import write_record
from harness.metrics.stopped import STOPPED_EARLY
from harness.report import Format, ReportConfig, report
from harness.report.groups import groups_of, lines
from harness.runs import RunDirectory, load
from harness.runs.manifest import Stopped
from harness.stats import Estimate
from tests.report.page_reader import Page, read_page
from tests.report.report_runs import AGAINST, answers, make_run, ranked, tasks, with_cliff


def page_of(*paths: Path) -> Page:
    return read_page(report(ReportConfig(runs=paths)).document)


def said(page: Page) -> str:
    return " ".join(page.text.split())


def test_a_stale_gate_is_no_verdict(tmp_path: Path) -> None:
    """What it rested on was measured again: no output shows its verdict, nor judges the contract by it."""
    run = with_cliff(make_run(tmp_path / "run", tasks(60), answers(0.9)), 1.0)
    policy = Policy(rules=("parse_validity.strict >= 0.5", "cliff.verdict in [left]"))
    write_record(run.path, decide(run, policy), policy)
    assert "gate: pass" in said(page_of(run.path))
    assert "gated by parse_validity.strict" in said(page_of(run.path))
    with_cliff(run, 1.2, seed=5)
    made = {form: report(ReportConfig(runs=(run.path,)), form) for form in get_args(Format)}
    [decided] = made["json"].content.decided
    texts = [said(read_page(made["html"].document)), made["md"].document, decided.line]
    for text in texts:
        assert "gate: stale" in text
        assert "cliff.json holds other measurements now" in text
        assert "gate: pass" not in text
        assert "gated by" not in text
        assert "default rule parse_validity.strict >= 0.95" in text
    [told] = json.loads(made["json"].document)["runs"]
    assert told["gate"] == "stale"
    assert told["gate_stale"] == ["cliff.json holds other measurements now"]
    assert "gated by" not in told["sentence"]


def test_a_place_on_the_line_without_an_estimate_of_lambda_star(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tasks(40), answers(0.8))
    reached = Estimate(40, 1.31, 1.204, None, "bootstrap-t, by task")
    off = Estimate(40, -0.0002, -0.0004, 0.0112, "bootstrap-t, by task")
    few = Estimate(3, None, None, None, "too few: 3 tasks of at least 8")
    roles = (RoleReached("open", 40, reached, off), RoleReached("elsewhere", 1090, few, few))
    words = "on the line and short of λ = 2: λ reached 1.31, off the line 0.000 nats a token (40 tasks)"
    place = Placement(2.0, 0.0, reached, off, Estimate(40, 0.9, 0.8, 1.0, ""), words, roles)
    with RunDirectory(run.path) as directory:
        directory.write_cliff(place.to_dict(), run.path)
        directory.write_metrics(run.metrics | place.metrics())
    made = {form: report(ReportConfig(runs=(run.path,)), form) for form in get_args(Format)}
    [decided] = made["json"].content.decided
    assert words.partition(":")[0] in decided.line
    assert not any("cliff" in one for one in decided.missing)
    page = said(read_page(made["html"].document))
    assert "run: on the line from its base past its teacher" in page
    document = made["html"].document
    table = " ".join(re.sub(r"<[^>]+>", " ", document[document.index("all of it") :]).split())
    for cells in ("all of it 40 – 1.310 1.204 … … 0.000", "elsewhere 3 1,090 too few", "open 40 40 1.310"):
        assert cells in table
    assert "ot measured: run" not in page
    markdown = made["md"].document
    assert "| open | 40 | 1.310 (1.204 … …) | 0.000 (0.000 … 0.011) |" in markdown
    assert "| elsewhere | 1,090 | too few: 3 tasks of at least 8 | too few" in markdown
    assert markdown.index("| elsewhere ") < markdown.index("| open ")


def test_a_verdict_whose_baseline_is_gone_says_so(tmp_path: Path) -> None:
    """It isn't stale: what was compared is still true; but nobody can see whether the baseline changed."""
    base = make_run(tmp_path / "base", tasks(60), answers(0.9), seed=1)
    run = make_run(tmp_path / "run", tasks(60), answers(0.9), seed=2)
    write_record(run.path, decide(run, AGAINST, base), AGAINST)
    assert "checked" not in said(page_of(run.path))
    base.path.rename(tmp_path / "moved")
    made = {form: report(ReportConfig(runs=(run.path,)), form) for form in get_args(Format)}
    words = "its baseline isn't at ../base any more, so not checked"
    for text in (said(read_page(made["html"].document)), made["md"].document):
        assert words in text
        assert "stale" not in text
    [told] = json.loads(made["json"].document)["runs"]
    assert (told["gate_unchecked"], told["gate_stale"]) == (words, [])


def contract_of(path: Path) -> str:
    [told] = json.loads(report(ReportConfig(runs=(path,)), "json").document)["runs"]
    sentence: str = told["sentence"]
    return sentence


@pytest.mark.parametrize("rule", ["parse_validity.strict >= 0.95", "ndcg_at_1.all >= 0.1"])
def test_a_run_that_was_looked_at_has_no_second_alpha(tmp_path: Path, rule: str) -> None:
    """Gated on half its tasks, whatever about, then grown: what is left of alpha only the gate knows."""
    rows, policy = tasks(300), Policy(rules=(rule,))

    def grow(limit: int) -> Path:
        return make_run(tmp_path / "run", rows, answers(0.99), limit=limit).path

    assert "gate it again" not in contract_of(grow(100))
    write_record(tmp_path / "run", decide(load(tmp_path / "run"), policy), policy)
    path = grow(300)
    made = {form: report(ReportConfig(runs=(path,)), form) for form in get_args(Format)}
    strict = load(path).metrics["parse_validity.strict"].estimate
    assert strict is not None
    for text in (said(read_page(made["html"].document)), made["md"].document, contract_of(path)):
        assert "contract not judged" in text
        assert "gate it again" in text
        assert f"strict {100 * strict:.1f} %" in text
        assert "keeps its contract" not in text


def test_a_look_at_all_there_is_leaves_the_same_look(tmp_path: Path) -> None:
    """All of alpha was its own, and the default rule on the same samples is that look again."""
    run, policy = (
        make_run(tmp_path / "run", tasks(300), answers(1.0)),
        Policy(rules=("ndcg_at_1.all >= 0.1",)),
    )
    write_record(run.path, decide(run, policy), policy)
    assert "keeps its contract (strict 100.0 %, default rule" in contract_of(run.path)
    assert decide(run, Policy()).verdict == "pass"


def test_a_run_in_a_stream_has_no_alpha_of_its_own(tmp_path: Path) -> None:
    run, policy = (
        make_run(tmp_path / "run", tasks(300), answers(1.0)),
        Policy(rules=("ndcg_at_1.all >= 0.1",)),
    )
    result = decide(run, policy, stream=tmp_path / "stream.jsonl")
    write_record(run.path, result, policy)
    assert "contract not judged (strict 100.0 %, gate it again" in contract_of(run.path)


def test_a_run_without_metrics_says_how_to_get_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tasks(60), answers(0.9))
    assert "rescore" not in said(page_of(run.path))
    (run.path / "metrics.json").unlink()
    made = {form: report(ReportConfig(runs=(run.path,)), form) for form in get_args(Format)}
    for text in (said(read_page(made["html"].document)), made["md"].document.replace("\\", "")):
        assert (
            f"no metrics.json lies in it: harness rescore {run.path}".lower() in text.replace("`", "").lower()
        )
    [told] = json.loads(made["json"].document)["runs"]
    assert any("harness rescore" in note for note in told["notes"])


def test_a_stopped_run_says_so_beside_its_numbers(tmp_path: Path) -> None:
    rows = tasks(60)
    base = make_run(tmp_path / "base", rows, answers(0.9), seed=1)
    run = make_run(tmp_path / "run", rows, answers(0.4), seed=2)
    with RunDirectory(run.path) as directory:
        directory.write_manifest(run.manifest.model_copy(update={"stopped": Stopped(tasks_used=60)}))
    rescore(run.path)
    label = STOPPED_EARLY
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

    alike = page_of(
        *(make_run(tmp_path / name, rows, short, seed=seed).path for seed, name in enumerate("ab"))
    )
    metrics = {one.metric for source in ("metrics", "difference") for one in alike.of(source)}
    assert "parse_validity.strict" in metrics
    assert not metrics & {"parse_validity.lenient", "parse_validity.repaired"}
    assert "lenient and repaired: the same in every run" in said(alike)
    apart = page_of(make_run(tmp_path / "c", rows, answers(0.5)).path)
    assert {"parse_validity.lenient", "parse_validity.repaired"} <= {
        one.metric for one in apart.of("metrics")
    }
    assert "the same in every run" not in said(apart)


def test_code_in_the_text_of_the_cliff_is_set_as_code(tmp_path: Path) -> None:
    run = with_cliff(make_run(tmp_path / "run", tasks(30), answers(0.9)), 1.1)
    page = page_of(run.path)
    assert "`" not in page.text
    assert "separator" in page.text


def test_the_fixed_point_stands_by_role_and_a_cliff_without_one_is_shown_too(tmp_path: Path) -> None:
    run = with_cliff(make_run(tmp_path / "run", tasks(30), answers(0.9)), 1.1)
    text = said(page_of(run.path))
    assert "Tail of the fixed point at λ = 1.1, as a coin and token by token" in text
    told = json.loads((run.path / "cliff.json").read_bytes())["fixed_points"]
    opened, separator = told["roles"]
    assert (opened["reached_at"], separator["reached_at"]) == (12.0, 1.1)
    for one in (opened, separator):
        tail = one["target_tail"]
        shown = [one["coin_tail"], tail["estimate"], tail["low"], tail["high"], one["edge"]]
        assert "".join(f"{value:.2g}" for value in shown) in text.replace(" … ", "")
    assert "insideλ = 12" in text
    older = with_cliff(make_run(tmp_path / "older", tasks(30), answers(0.9)), 1.1, of_today=False)
    assert "Tail of the fixed point" not in said(page_of(older.path))


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
    for drawn_by_the_lock in ("rollouts", "teacher"):
        make_run(folder / "prereg" / drawn_by_the_lock, rows, answers(1.0), data=data, seed=3)
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
