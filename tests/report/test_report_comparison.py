"""Pairing: the same task and the same sample index, whatever the order, and only what both have."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from harness.evaluate.scoring import rescore
from harness.report.comparison import Difference, _worded, compare_runs, number_of_tests
from harness.report.reading import read_runs
from harness.runs import Run, RunDirectory
from harness.stats import Decision, Estimate, PairedComparison
from tests.report.report_runs import answers, make_run, tasks
from tests.resealing import rows_of, write_rows


def differences(*runs: Run) -> dict[str, tuple[float | None, float | None, int]]:
    facts = read_runs([run.path for run in runs])
    compared = compare_runs(facts, facts[0], 0.02)[facts[1].name]
    return {
        name: (one.comparison.difference.estimate, one.comparison.p_value, one.comparison.difference.n)
        for name, one in compared.differences.items()
    }


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Run, Run]:
    rows = tasks(80)
    return (
        make_run(tmp_path / "base", rows, answers(0.5), seed=1),
        make_run(tmp_path / "run", rows, answers(0.8), seed=2),
    )


def lines_of(run: Run) -> list[str]:
    return (run.path / "samples.jsonl").read_text().splitlines(keepends=True)


@pytest.mark.parametrize("samples", [1, 3])
def test_order_of_finishing_does_not_matter(tmp_path: Path, samples: int) -> None:
    rows = tasks(40)
    runs = [
        make_run(tmp_path / name, rows, answers(share), seed=seed, samples=samples, temperature=1.0)
        for seed, (name, share) in enumerate((("base", 0.5), ("run", 0.8)))
    ]
    before = differences(*runs)
    for seed, run in enumerate(runs):
        shuffled = lines_of(run)
        random.Random(seed).shuffle(shuffled)
        (run.path / "samples.jsonl").write_text("".join(shuffled))
    assert differences(*runs) == before


def test_only_samples_of_both_are_paired(runs: tuple[Run, Run]) -> None:
    for run, kept in ((runs[1], slice(50)), (runs[0], slice(20, None))):
        (run.path / "samples.jsonl").write_text("".join(lines_of(run)[kept]))
        with RunDirectory(run.path) as directory:
            directory.drop_metrics()
            directory.write_manifest(run.manifest.model_copy(update={"status": "incomplete"}))
    assert differences(*runs)["parse_validity.strict"][2] == 30


def test_difference_and_test_against_scipy(runs: tuple[Run, Run]) -> None:
    stats = pytest.importorskip("scipy.stats")
    rows = [{row["task_id"]: row for row in map(json.loads, lines_of(run))} for run in runs]
    strict = [
        np.array([run[task_id]["parse"]["tier"] == "strict" for task_id in sorted(rows[0])]) for run in rows
    ]
    gained, lost = int((~strict[0] & strict[1]).sum()), int((strict[0] & ~strict[1]).sum())
    estimate, p, n = differences(*runs)["parse_validity.strict"]
    assert estimate == pytest.approx((gained - lost) / 80)
    assert p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
    assert n == 80
    both = [task_id for task_id in rows[0] if all(run[task_id]["parse"]["tier"] == "strict" for run in rows)]
    values = [
        np.array([run[task_id]["scores"]["ndcg_at_1"] for task_id in both], dtype=float) for run in rows
    ]
    estimate, _, n = differences(*runs)["ndcg_at_1.parsed"]
    assert estimate == pytest.approx(float((values[1] - values[0]).mean()))
    assert n == len(both)


def test_a_run_beside_its_copy_is_equivalent(tmp_path: Path) -> None:
    rows = tasks(400)
    first = make_run(tmp_path / "a", rows, answers(0.9), seed=1)
    second = make_run(tmp_path / "b", rows, answers(0.9), seed=1)
    facts = read_runs([first.path, second.path])
    compared = compare_runs(facts, facts[0], 0.02)["b"]
    assert {one.word for one in compared.differences.values()} == {"equivalent"}


def test_correction_goes_over_all_runs(tmp_path: Path) -> None:
    rows = tasks(60)
    shares = (0.5, 0.9, 0.55, 0.6)
    made = [
        make_run(tmp_path / name, rows, answers(share), seed=seed)
        for seed, (name, share) in enumerate(zip("abcd", shares, strict=True))
    ]
    facts = read_runs([run.path for run in made])
    compared = compare_runs(facts, facts[0], 0.02)
    tests = number_of_tests(compared)
    assert tests == 3 * 8
    found = [one for comparison in compared.values() for one in comparison.differences.values()]
    rows_of_p = sorted((one.comparison.p_value or 0.0, one.p_holm or 0.0) for one in found)
    smallest, second = rows_of_p[:2]
    assert smallest[1] == pytest.approx(tests * smallest[0])
    assert second[1] == pytest.approx(max(smallest[1], (tests - 1) * second[0]))


PLANTED = (
    # tests, low, high, p, p after Holm, within the margin → word, note
    (1, -0.05, -0.01, 0.003, 0.003, False, "worse", ""),
    (1, -0.015, -0.001, 0.003, 0.003, True, "slightly worse", ""),
    (1, 0.001, 0.015, 0.003, 0.003, True, "slightly better", ""),
    (1, -0.05, 0.01, 0.003, 0.003, False, "worse", "by planted; the interval reaches 0"),
    (9, -0.05, -0.01, 0.02, 0.18, False, "not settled", "after the correction for 9 comparisons"),
    (9, -0.05, -0.01, 0.06, 0.54, False, "not settled", "by planted"),
    (9, -0.05, 0.01, 0.3, 1.0, False, "not settled", ""),
    (9, -0.012, -0.001, 0.02, 0.18, True, "equivalent", ""),
)


@pytest.mark.parametrize(("tests", "low", "high", "p", "p_holm", "within", "word", "note"), PLANTED)
def test_interval_and_word_agree_or_the_word_says_why(
    tests: int, low: float, high: float, p: float, p_holm: float, within: bool, word: str, note: str
) -> None:
    estimate = Estimate(100, (low + high) / 2, low, high, "planted")
    equivalence = Decision("pass" if within else "undecided", 0.01 if within else 0.5, 0.5, estimate, 0.05)
    compared = PairedComparison(estimate, p, 0, "planted")
    found = _worded(Difference("ndcg_at_1.all", compared, equivalence, (0.9, 0.9), p_holm=p_holm), tests)
    assert (found.word, found.note) == (word, note)
    assert found.against == word.endswith("worse")


def test_pairs_on_which_only_some_count_say_of_how_many(runs: tuple[Run, Run]) -> None:
    facts = read_runs([run.path for run in runs])
    differences = compare_runs(facts, facts[0], 0.02)["run"].differences
    parsed, every = differences["ndcg_at_1.parsed"], differences["ndcg_at_1.all"]
    both = [
        {
            row["task_id"]: row["scores"]["ndcg_at_1"]
            for row in map(json.loads, lines_of(run))
            if row["parse"]["tier"] == "strict"
        }
        for run in runs
    ]
    common = both[0].keys() & both[1].keys()
    assert (parsed.comparison.difference.n, parsed.of) == (len(common), 80)
    assert every.of is None
    # Both means are over the pairs, so that their difference is the difference that is tested.
    for mean, values in zip(parsed.means or (), (both[1], both[0]), strict=True):
        assert mean == pytest.approx(np.mean([values[task_id] for task_id in common]))


def test_fewer_truncations_are_better(tmp_path: Path) -> None:
    rows = tasks(60)
    base = make_run(tmp_path / "base", rows, answers(1.0))
    run = make_run(tmp_path / "run", rows, answers(1.0))
    for line_file, cut in ((base.path / "samples.jsonl", 40), (run.path / "samples.jsonl", 5)):
        lines = rows_of(line_file)
        for one in lines[:cut]:
            one["finish_reason"] = "length"
        write_rows(line_file, lines)
        rescore(line_file.parent)
    facts = read_runs([base.path, run.path])
    assert compare_runs(facts, facts[0], 0.02)["run"].differences["truncation_rate"].word == "better"
