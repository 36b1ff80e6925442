"""The first sentence is true to the tables below it, and what went against a run is in it, first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.report import ReportConfig, report
from tests.report.page_reader import Number, Page, read_page
from tests.report.report_runs import answers, gated, judged, make_run, tasks

EXAMPLE = Path(__file__).parents[2] / "reports" / "example.html"
AGAINST = ("worse", "slightly worse")
SIGNS = "✓✕↓?•"


@dataclass(frozen=True)
class Row:
    """A row of the table of differences, as it is shown."""

    word: str
    change: str
    p: str | None
    pairs: str


def rows_of(page: Page) -> dict[tuple[str, str], Row]:
    fields: dict[tuple[str, str], dict[str, Number]] = {}
    for one in page.of("difference"):
        fields.setdefault((one.run, one.metric), {})[one.field] = one
    return {
        place: Row(
            found["word"].text,
            found["estimate"].text if "estimate" in found else "",
            found["p_holm"].text if "p_holm" in found else None,
            found["n"].text,
        )
        for place, found in fields.items()
    }


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> list[Page]:
    """Pages of a run that lost its format, one that won, one that lost a little and one that is the same."""
    folder = tmp_path_factory.mktemp("runs")
    rows = tasks(400)
    base = judged(gated(make_run(folder / "base", rows, answers(0.95), seed=1)))
    runs = [
        judged(gated(make_run(folder / name, rows, answers(share), seed=seed), base), seed=seed)
        for name, share, seed in (("worse", 0.7, 2), ("better", 1.0, 3), ("near", 0.92, 4), ("same", 0.95, 1))
    ]
    one_by_one = [ReportConfig(runs=(run.path, base.path)) for run in runs]
    together = ReportConfig(runs=(*(run.path for run in runs), base.path))
    wide = ReportConfig(runs=(runs[0].path, base.path), margin=0.5)
    return [read_page(report(config).document) for config in (*one_by_one, together, wide)]


@pytest.fixture(params=["example", "planted"])
def pages(request: pytest.FixtureRequest, planted: list[Page]) -> list[Page]:
    return [read_page(EXAMPLE)] if request.param == "example" else planted


def sentences(pages: list[Page]) -> Iterator[tuple[Page, str, list[Number]]]:
    for page in pages:
        for run in dict.fromkeys(one.run for one in page.of("difference")):
            yield page, run, [one for one in page.of("sentence") if one.run == run]


def test_every_paired_test_that_went_against_a_run_is_named(pages: list[Page]) -> None:
    seen = 0
    for page, run, clauses in sentences(pages):
        named = {metric for one in clauses for metric in one.metric.split()}
        against = {
            metric for (name, metric), row in rows_of(page).items() if name == run and row.word in AGAINST
        }
        assert against <= named
        seen += len(against)
    assert seen > 1


def test_format_and_both_rankings_are_always_named(pages: list[Page]) -> None:
    for _, _, clauses in sentences(pages):
        named = [one.metric.split()[0] for one in clauses]
        assert {"parse_validity.strict", "ndcg_at_1.all", "ndcg_at_1.parsed"} <= set(named)


def test_words_and_numbers_are_those_of_the_rows(pages: list[Page]) -> None:
    compared = 0
    for page, run, clauses in sentences(pages):
        rows = rows_of(page)
        for clause in clauses:
            row = rows[run, clause.metric.split()[0]]
            text = " ".join(clause.text.split())
            assert row.word == clause.value
            if row.word != "no pairs":
                assert row.word in text
            if match := re.search(r"(?:worse|better),? by ([\d.]+)", text):
                assert match[1] == row.change.lstrip("+−")
                sign = "−" if row.word in AGAINST else "+"
                assert row.change[0] == sign or clause.metric == "truncation_rate"
                compared += 1
            if match := re.search(r", p (< )?([\d.]+)", text):
                assert f"{match[1] or ''}{match[2]}" == row.p
                compared += 1
            if match := re.search(r"([\d,]+) of ([\d,]+) pairs", text):
                assert match[1] == row.pairs
    assert compared > 4


def test_what_went_against_the_run_comes_first_and_has_no_tick(pages: list[Page]) -> None:
    for page, run, clauses in sentences(pages):
        against = [one.value in AGAINST for one in clauses]
        assert against == sorted(against, reverse=True)
        signs = [one.text.strip()[0] for one in clauses]
        assert set(signs) <= set(SIGNS)
        assert not any(sign == "✓" for sign, lost in zip(signs, against, strict=True) if lost)
        lost_format = any(
            lost and one.metric.startswith("parse_validity")
            for one, lost in zip(clauses, against, strict=True)
        )
        start = page.text.index(f"\n{run}")
        said = page.text[start : page.text.index(".\n", start)]
        if lost_format:
            assert not re.search(r"✓\s*keeps its contract", said)


def test_sizes_are_those_of_the_table() -> None:
    page = read_page(EXAMPLE)
    sizes = {one.run: one for one in page.of("manifest") if one.metric == "engine.parameters"}
    text = " ".join(page.text.split())
    mine, theirs = sizes["listopd"], sizes["sft-large"]
    assert f"half the parameters ({mine.text} against {theirs.text})" in text
    assert mine.value / theirs.value == pytest.approx(0.5, rel=0.03)


def test_first_words_of_the_example() -> None:
    """What a reader takes away in five seconds."""
    text = " ".join(read_page(EXAMPLE).text.split())
    start = text.index("Against sft-large:")
    assert re.match(
        r"Against sft-large: • half the parameters \(\S+ K against \S+ K\); ✕ format worse by [\d.]+ points "
        r"\(strict [\d.]+ % against [\d.]+ %, p [<\d. ]+\); ✕ ranking on all answers worse by [\d.]+ ",
        text[start:],
    )


def test_json_and_markdown_say_the_same(tmp_path: Path) -> None:
    rows = tasks(300)
    base = make_run(tmp_path / "base", rows, answers(0.95), seed=1)
    run = make_run(tmp_path / "run", rows, answers(0.6), seed=2)
    config = ReportConfig(runs=(run.path, base.path))
    told = json.loads(report(config, "json").document)
    text = report(config, "md").document
    page = " ".join(read_page(report(config).document).text.split())
    first = told["runs"][0]
    assert first["baseline"] == told["baseline"] == "base"
    assert first["sentence"].startswith("run against base: breaks its contract (strict ")
    against = {name for name, one in told["comparisons"][0]["differences"].items() if one["against"]}
    assert {"parse_validity.strict", "ndcg_at_1.all"} <= against
    assert against <= {metric for clause in first["clauses"] for metric in clause["metrics"]}
    for clause in first["clauses"]:
        assert f"**{clause['claim']}** ({clause['detail']})" in text
        assert f"{clause['claim']} ({clause['detail']})" in page
        for metric in clause["metrics"]:
            assert (
                told["comparisons"][0]["differences"][metric]["verdict"] == clause["word"]
                or metric != (clause["metrics"][0])
            )


def test_a_difference_within_the_margin_that_the_test_shows_is_no_tick(planted: list[Page]) -> None:
    wide = planted[-1]
    row = rows_of(wide)["worse", "parse_validity.strict"]
    assert row.word == "slightly worse"
    [clause] = [one for one in wide.of("sentence") if one.metric.startswith("parse_validity.strict")]
    assert clause.text.strip().startswith("↓")
    assert "within 50 points" in clause.text
