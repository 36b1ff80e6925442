"""A forecast in a report of its folder: figure, table, how it breaks; nothing once its runs have changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.report import ReportConfig, report
from harness.runs import source_of
from harness.runs.forecast_record import FORECAST, Break, Breaks, Example, Forecast, Point
from harness.stats import Estimate
from harness.stats.falling import LargestLevel
from tests.report.report_runs import answers, make_run, tasks

HOSTILE = '<img src=x onerror=alert(1)> "8, 8]}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a line, and what a forecast would say of them."""
    folder = tmp_path_factory.mktemp("reports") / "foreseen"
    points = []
    for lam, valid in ((1.0, 0.9), (2.0, 0.4)):
        run = make_run(folder / f"lambda-{lam:g}", tasks(40), answers(valid), data=folder / "tasks.jsonl")
        drawn = source_of(run.path).drawn_sha256
        validity = run.metrics["parse_validity.strict"]
        curve = replace(validity, method="isotonic")
        codes = {"not_json": 0.25} if lam == 2.0 else {}
        ndcg = (run.metrics["ndcg_at_1.parsed"], run.metrics["ndcg_at_1.all"])
        points.append(Point(lam, run.path.name, validity, *ndcg, codes, drawn, curve))
    ways = (Break("not_json", 0.25, (Example("t-1", HOSTILE, "what is wrong"),)),)
    largest = LargestLevel(1.2, 1.0, 2.0)
    found = Forecast("T", "B", 0.0, 0.8, tuple(points), largest, breaks=Breaks(2.0, ways), notes=("a note",))
    (folder / FORECAST).write_text(json.dumps(found.to_dict()))
    return folder


@pytest.mark.parametrize("named", [lambda folder: folder, lambda folder: folder / "lambda-2"])
def test_it_is_shown_for_its_folder_and_for_a_run_in_it(folder: Path, named: Callable[[Path], Path]) -> None:
    page = report(ReportConfig(runs=(named(folder),))).document
    assert 'href="#forecast"' in page
    assert "foreseen: target of T and B" in page
    assert page.count('<svg xmlns="http://www.w3.org/2000/svg"') == 1
    assert "<polygon" in page
    for words in ("about 1.2", "Note: a note", "How it breaks, at λ = 2", "what is wrong"):
        assert words in page
    assert "&lt;img src=x onerror" in page
    assert HOSTILE not in page


def test_the_other_forms_tell_it_too(folder: Path) -> None:
    config = ReportConfig(runs=(folder,))
    [told] = json.loads(report(config, "json").document)["forecasts"]
    assert (told["folder"], told["largest_lambda"]["estimate"], told["stale"]) == ("foreseen", 1.2, [])
    markdown = report(config, "md").document
    assert "**Forecast foreseen**, target of T and B" in markdown
    assert "| 2 | " in markdown


def test_texts_stay_out_of_a_redacted_report(folder: Path) -> None:
    config = ReportConfig(runs=(folder,), redact="titles")
    page = report(config).document
    assert "not_json, 25.0 %" in page
    told = report(config, "json").document
    [way] = json.loads(told)["forecasts"][0]["breaks"]["ways"]
    assert way["code"] == "not_json"
    for document in (page, told, report(config, "md").document):
        assert "onerror" not in document
        assert "what is wrong" not in document


def test_what_was_made_from_other_answers_is_not_shown(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    shutil.rmtree(other / "lambda-2")
    make_run(other / "lambda-2", tasks(40), answers(0.1), data=other / "tasks.jsonl", seed=9)
    page = report(ReportConfig(runs=(other,))).document
    assert "Not shown: made from other answers than there are now (λ = 2); forecast again" in page
    assert "<polygon" not in page


def test_a_student_that_was_placed_is_told_of_as_placed(folder: Path, tmp_path: Path) -> None:
    """And it is no baseline: the teacher's run is. What an earlier call drew beside isn't in the report."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for name in ("student-1", "student-2", "lambda-3"):
        make_run(other / name, tasks(40), answers(0.7), data=other / "tasks.jsonl", seed=9)
    content = json.loads((other / FORECAST).read_text())
    here = asdict(Estimate(40, 0.486, 0.415, 0.538, "bootstrap-t, by task"))
    off = here | {"estimate": -0.0001, "low": -0.0002, "high": 0.076}
    rate = content["points"][0]["parse_validity"]
    student = {"checkpoint": "S", "run": "student-2", "parse_validity": rate, "ndcg_at_1_parsed": rate}
    student |= {"lambda_reached": here, "off_the_line": off, "along_the_line": here, "forecast_there": 0.9}
    (other / FORECAST).write_text(json.dumps(content | {"students": [student]}))
    config = ReportConfig(runs=(other,))
    page = report(config).document
    for words in ("λ reached 0.49 [0.41, 0.54], off the line 0.000 nats", "baseline lambda-1"):
        assert words in page
    assert "0.415 … 0.538" in page
    told = json.loads(report(config, "json").document)
    assert [one["name"] for one in told["runs"]] == ["lambda-2", "student-2", "lambda-1"]
    missing = page[page.index("ot measured: ") :][:60]
    assert "student-2" not in missing
    assert "lambda-1, lambda-2" in missing or "lambda-2, lambda-1" in missing


def test_no_section_without_a_forecast(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "lambda-1", tmp_path / "alone" / "lambda-1")
    assert 'id="forecast"' not in report(ReportConfig(runs=(tmp_path / "alone" / "lambda-1",))).document


def test_files_of_earlier_versions_are_read(folder: Path, tmp_path: Path) -> None:
    """Without the curve and how it breaks."""
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    content = json.loads((old / FORECAST).read_text())
    del content["breaks"]
    for point in content["points"]:
        del point["curve"]
    (old / FORECAST).write_text(json.dumps(content))
    page = report(ReportConfig(runs=(old,))).document
    assert "old: target of T and B" in page
    assert "<polygon" not in page
