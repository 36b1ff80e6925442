from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.sweep_figure import draw_sweep
from harness.errors import DataError
from harness.stats import wilson
from harness.sweep.analysis import analyse
from harness.sweep.onsets import compare_onsets
from harness.sweep.prereg.lock_file import ClipPrediction, Window
from harness.sweep.results import read_results, read_table, write_table
from tests.sweep.sweep_worlds import BASE_STRICT, GRID, collapsing_from, plan_of, result

ARMS = [{"name": "small", "clip": 1.5}, {"name": "large", "clip": 5.0}]
PLAN = plan_of(ARMS)


def test_planted_onsets_come_back():
    analysis = analyse(PLAN, collapsing_from(PLAN, {"small": 1.2, "large": 9.0}), BASE_STRICT)
    small, large = analysis.arms
    assert (small.onset.least, small.onset.most) == (1.1, 1.2)
    assert (small.change_point.least, small.change_point.most) == (1.1, 1.2)
    assert (large.onset.value, large.onset.least, large.onset.most) == (None, GRID[-1], None)
    assert [row.collapse.estimate for row in small.rows] == [0, 0, 1, 1, 1, 1]
    assert small.rows[0].collapse == wilson(0, 8)
    assert analysis.threshold == BASE_STRICT / 2


def test_a_run_collapses_below_half_of_the_bases_validity_and_when_it_diverges():
    edge = BASE_STRICT / 2
    assert not result("small", 1.0, 0, strict=edge).collapsed(edge)
    assert result("small", 1.0, 0, strict=edge - 1e-9).collapsed(edge)
    assert result("small", 1.0, 0, strict=None, diverged=True).collapsed(edge)


def test_seeds_with_missing_runs_are_kept_out_of_onsets_and_counted():
    results = collapsing_from(PLAN, {"small": 1.2, "large": 1.2})
    unfinished = [one for one in results if not (one.seed >= 6 and one.lam == 1.8)]
    analysis = analyse(PLAN, unfinished, BASE_STRICT)
    assert analysis.arms[0].onset.seeds == 6
    assert (analysis.finished, analysis.planned) == (len(results) - 4, len(results))
    assert [row.runs for row in analysis.arms[0].rows] == [8, 8, 8, 8, 6, 8]
    nothing = [one for one in results if one.lam != 1.8]
    assert analyse(PLAN, nothing, BASE_STRICT).arms[0].onset is None
    assert compare_onsets(PLAN, nothing, BASE_STRICT, "small", "large") is None


def test_the_ratio_compares_distances_from_plain_distillation():
    results = collapsing_from(PLAN, {"small": 1.1, "large": 1.8})
    ratio = compare_onsets(PLAN, results, BASE_STRICT, "small", "large")
    assert ratio.least == pytest.approx(0.4 / 0.1)
    assert ratio.most is None


@pytest.mark.parametrize(("slope", "verdict"), [(0.0, "flat"), (0.3, "not_flat"), (0.031, "undecided")])
def test_flatness_is_an_equivalence_test_over_seeds(slope, verdict):
    rng = np.random.default_rng(0)
    results = [
        replace(one, ndcg_parsed=0.6 + slope * (one.lam - 1.0) + 0.01 * float(rng.standard_normal()))
        for one in collapsing_from(PLAN, {"small": 9.0, "large": 9.0})
    ]
    arm = analyse(PLAN, results, BASE_STRICT).arms[0]
    assert arm.flatness == verdict
    assert arm.rows[0].flatness is None


def test_collapsed_runs_say_nothing_of_ndcg():
    analysis = analyse(PLAN, collapsing_from(PLAN, {"small": 1.2, "large": 9.0}), BASE_STRICT)
    dead = analysis.arms[0].rows[-1]
    assert (dead.ndcg_parsed.estimate, dead.flatness) == (None, "untested")


numbers = st.floats(0, 1) | st.none()


@given(st.lists(st.tuples(numbers, numbers, st.floats(1, 9), st.booleans()), min_size=1, max_size=5))
def test_the_table_gives_back_every_digit(tmp_path_factory, cells):
    results = [
        result("small", lam, seed, strict=strict, ndcg_parsed=ndcg, diverged=diverged, clip=None)
        for seed, (strict, ndcg, lam, diverged) in enumerate(cells)
    ]
    folder = tmp_path_factory.mktemp("table")
    write_table(results, folder / "results.csv")
    assert sorted(read_table(folder / "results.csv"), key=lambda one: one.seed) == results
    assert read_results(folder) == read_table(folder / "results.csv")


def test_a_damaged_table_names_the_line(tmp_path):
    write_table([result("small", 1.0, seed) for seed in range(3)], tmp_path / "results.csv")
    text = (tmp_path / "results.csv").read_text().replace("small,1.0,1,", "small,one,1,")
    (tmp_path / "results.csv").write_text(text)
    with pytest.raises(DataError, match="line 3: `lam=one` should"):
        read_table(tmp_path / "results.csv")


def test_the_picture_is_xml_and_has_a_mark_for_every_number():
    analysis = analyse(PLAN, collapsing_from(PLAN, {"small": 1.2, "large": 9.0}), BASE_STRICT)
    prediction = ClipPrediction(
        clip=1.5,
        roles=(),
        binding="open",
        binding_window=Window(low=1.05, high=1.1),
        band=Window(low=1.05, high=None),
        unmet=(),
    )
    drawn = ElementTree.fromstring(draw_sweep(analysis, [prediction], "a < b & c"))
    tags = [element.tag.rpartition("}")[2] for element in drawn.iter()]
    numbers = [
        one
        for arm in analysis.arms
        for row in arm.rows
        for one in (row.collapse, row.strict, row.ndcg_parsed)
    ]
    legend = len(analysis.arms)
    assert tags.count("use") == sum(one.estimate is not None for one in numbers) + legend
    bands = [one for one in drawn.iter() if one.get("fill") == "#f59e0b"]
    assert len(bands) == 3 + 1
    assert {one.get("width") for one in bands[:3]} == {bands[0].get("width")}
    assert "a < b & c" in "".join(drawn.itertext())
