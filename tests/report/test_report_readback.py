"""Every number on the page is a number of the run's files, and what is shown is that number rounded."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.report import Report, ReportConfig, report
from tests.report.page_reader import Number, Page, read_page
from tests.report.report_runs import answers, gated, judged, make_run, tasks, with_cliff

ENDS = ("estimate", "low", "high")
SHOWN = re.compile(r"[−+-]?[\d,]*\.?\d+(?:e[−+-]?\d+)?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    rows = tasks(60)
    base = judged(gated(with_cliff(make_run(folder / "sft", rows, answers(0.5), seed=1), 1.0)))
    judged(gated(with_cliff(make_run(folder / "student", rows, answers(0.9), seed=2), 1.2), base), seed=1)
    with_cliff(make_run(folder / "far", rows, answers(0.2), seed=3), 1.6)
    return folder


def config(folder: Path) -> ReportConfig:
    return ReportConfig(runs=(folder / "sft", folder / "student", folder / "far"), baseline="sft")


@pytest.fixture(scope="module")
def made(folder: Path) -> Report:
    return report(config(folder))


@pytest.fixture(scope="module")
def page(made: Report) -> Page:
    return read_page(made.document)


def stored(folder: Path, run: str, file: str) -> Any:
    return json.loads((folder / run / file).read_text())


def agrees(number: Number) -> None:
    """What is shown is the exact value, rounded to the digits shown."""
    found = SHOWN.search(number.text)
    assert found, number
    digits = found.group().replace(",", "").replace("−", "-")
    shown = float(digits)
    if "<" in number.text:
        assert number.value < shown
        return
    if number.text.startswith("1 − "):
        value = 1 - number.value
        digits = number.text.removeprefix("1 − ")
        assert float(digits) == pytest.approx(value, rel=0.06)
        return
    rates = r"parse_validity.*|failure_rate.*|truncation_rate|task_rate.*|judge\..*\.(coverage|unscored.*)"
    percent = "%" in number.text or (number.field != "n" and re.fullmatch(rates, number.metric) is not None)
    in_hundreds = percent and number.source in ("metrics", "difference") and number.field in ENDS
    value = number.value * (100 if in_hundreds else 1)
    if number.text.endswith((" B", " M", " K")):
        value /= {"B": 1e9, "M": 1e6, "K": 1e3}[number.text[-1]]
        assert shown == pytest.approx(value, rel=0.01)
        return
    if number.metric.startswith(("roles.", "lambda_star", "lam", "clip.")) and ".p" not in number.metric:
        assert shown == pytest.approx(value, rel=1e-3)
        return
    decimals = len(digits.partition(".")[2])
    assert abs(shown - value) <= 0.5 * 10.0**-decimals * (1 + 1e-6), number


def test_every_number_shown_is_its_value_rounded(page: Page) -> None:
    assert len(page.numbers) > 300
    for number in page.numbers:
        if number.field != "word" and not number.text.startswith(("2 h", "3 min")):
            agrees(number)


def test_metrics_are_those_of_metrics_json(page: Page, folder: Path) -> None:
    for number in page.of("metrics"):
        assert number.value == stored(folder, number.run, "metrics.json")[number.metric][number.field]


@pytest.mark.parametrize("run", ["sft", "student", "far"])
def test_no_metric_is_missing(page: Page, folder: Path, run: str) -> None:
    """All that is stored, except what is 0 in every run, and the cliff's, which have their own file."""
    there = {(one.metric, one.field) for one in page.of("metrics") if one.run == run}
    every = [stored(folder, name, "metrics.json") for name in ("sft", "student", "far")]
    alike = {
        name
        for name in ("parse_validity.lenient", "parse_validity.repaired")
        if all(one[name] == one["parse_validity.strict"] for one in every)
    }
    for name, estimate in stored(folder, run, "metrics.json").items():
        if name in ("source", "seal"):
            continue
        never = name.startswith(("failure_rate.", "task_rate.", "withheld_rate")) and not any(
            one[name]["estimate"] for one in every
        )
        if name.startswith("cliff.") or never or name in alike:
            continue
        for field in ("estimate", "low", "high"):
            if estimate[field] is not None:
                assert (name, field) in there
        assert (name, "n") in there or name.startswith("failure_rate.")


def test_gate_is_that_of_gate_json(page: Page, folder: Path) -> None:
    seen = set()
    for number in page.of("gate"):
        gate = stored(folder, number.run, "gate.json")
        if number.metric in ("verdict", "alpha"):
            assert number.value == gate[number.metric]
        else:
            rule = next(rule for rule in gate["rules"] if rule["rule"] == number.metric)
            assert number.value == rule["estimate"][number.field]
        seen.add((number.run, number.metric))
    assert ("student", "ndcg_at_1.all >= baseline - 0.05") in seen
    assert {run for run, metric in seen if metric == "verdict"} == {"sft", "student"}


def test_cliff_is_that_of_cliff_json(page: Page, folder: Path) -> None:
    numbers = page.of("cliff")
    assert {one.run for one in numbers} == {"sft", "student", "far"}
    for number in numbers:
        cliff = stored(folder, number.run, "cliff.json")
        where, parts = cliff, number.metric.split(".")
        if number.metric == "clip.effective":
            assert number.value == cliff["clip"]["value"]
            continue
        if number.metric == "lam":
            assert number.value == cliff["lam"]
            continue
        if parts[0] == "roles":
            where = cliff["estimate"][cliff["calibration"]]["roles"][int(parts[1])]
            parts = parts[2:]
        found = where[parts[0]]
        assert number.value == (
            found["value"] if number.field == "estimate" and "value" in found else found[number.field]
        )


def test_counts_are_those_of_the_samples(page: Page, folder: Path) -> None:
    counted: dict[str, Counter[str]] = {}
    for run in ("sft", "student", "far"):
        lines = (folder / run / "samples.jsonl").read_text().splitlines()
        counted[run] = Counter(str(json.loads(line)["parse"]["code"]) for line in lines)
    for number in page.of("samples"):
        if number.metric.startswith("failure_rate."):
            assert number.value == counted[number.run][number.metric.removeprefix("failure_rate.")]
    lengths = [one for one in page.of("samples") if one.metric.startswith("length.")]
    assert sum(one.value for one in lengths if one.run == "sft") == 60
    ranks = [one for one in page.of("samples") if one.metric.startswith("best_rank.")]
    assert sum(one.value for one in ranks if one.run == "sft") == counted["sft"]["None"]


def test_outcomes_are_those_of_the_samples(page: Page, folder: Path) -> None:
    strict = {}
    for run in ("sft", "student"):
        rows = map(json.loads, (folder / run / "samples.jsonl").read_text().splitlines())
        strict[run] = {row["task_id"]: row["parse"]["tier"] == "strict" for row in rows}
    pairs = Counter((strict["sft"][task_id], strict["student"][task_id]) for task_id in strict["sft"])
    shown = {one.metric: one.value for one in page.of("outcomes") if one.run == "student"}
    assert shown == {
        "broken": pairs[True, False],
        "fixed": pairs[False, True],
        "both_fail": pairs[False, False],
        "both_pass": pairs[True, True],
    }


def test_differences_are_those_of_the_estimates(page: Page, folder: Path) -> None:
    """Where both have all samples, the paired difference of a mean is the difference of the means."""
    for number in page.of("difference"):
        if (
            number.field == "estimate"
            and not number.metric.endswith(".parsed")
            and "rubric" not in number.metric
        ):
            mine = stored(folder, number.run, "metrics.json")[number.metric]["estimate"]
            base = stored(folder, "sft", "metrics.json")[number.metric]["estimate"]
            assert number.value == pytest.approx(mine - base, abs=1e-12)


def test_samples_are_those_of_the_runs(page: Page, folder: Path) -> None:
    rows = page.rows
    assert rows["runs"] == ["sft", "student", "far"]
    assert len(rows["rows"]) == 60
    for place, run in enumerate(rows["runs"]):
        stored_rows = {
            one["task_id"]: one
            for one in map(json.loads, (folder / run / "samples.jsonl").read_text().splitlines())
        }
        for task_id, index, cells in rows["rows"]:
            assert index == 0
            tier, code, output, *_ = cells[place]
            one = stored_rows[task_id]
            assert output == one["text"]
            assert rows["tiers"][tier] == one["parse"]["tier"]
            assert (None if code < 0 else rows["codes"][code]) == one["parse"]["code"]


def test_same_runs_give_the_same_page(made: Report, folder: Path) -> None:
    again = report(config(folder))
    assert again.document == made.document


def test_markdown_has_the_same_numbers(folder: Path) -> None:
    text = report(ReportConfig(runs=(folder / "student", folder / "sft")), "md").document
    metrics = stored(folder, "student", "metrics.json")
    assert f"{100 * metrics['parse_validity.strict']['estimate']:.1f} %" in text
    assert f"{metrics['ndcg_at_1.parsed']['estimate']:.3f}" in text
    assert text.count("\n") < 50
