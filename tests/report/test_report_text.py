"""Numbers as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report import plots
from harness.report.scatter import Point, _box, _cost, _labelled, _marks
from harness.report.text import decimal, parameters, points, share_of, signed
from harness.stats import Estimate


def test_nothing_is_not_less_than_nothing() -> None:
    assert (decimal(-0.0004), signed(-0.0004), points(-0.0)) == ("0.000", "+0.000", "0.0")


@pytest.mark.parametrize(
    ("sizes", "written"),
    [
        ((397_000, 775_000), ["397 K", "775 K"]),
        ((600_000_000, 8_030_000_000), ["0.6 B", "8.03 B"]),
        ((400_000, 8_000_000_000), ["400 K", "8 B"]),
        ((12,), ["12"]),
    ],
)
def test_parameters_stand_in_one_unit_where_that_is_readable(
    sizes: tuple[int, ...], written: list[str]
) -> None:
    write = parameters(*sizes)
    assert [write(size) for size in sizes] == written


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.512, "half the parameters"),
        (1.0, "as many parameters"),
        (1.7 / 8.03, "0.21× the parameters"),
        (4.7, "4.7× the parameters"),
        (0.55, "0.55× the parameters"),
    ],
)
def test_a_share_has_words_only_where_they_are_near(ratio: float, words: str) -> None:
    assert share_of(ratio) == words


def test_a_small_difference_isnt_none() -> None:
    assert [points(value) for value in (0.0, -0.029, 0.0002, -0.00003)] == ["0.0", "−2.9", "+0.02", "−0.003"]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6))
def test_labels_of_an_axis_tell_its_ticks_apart(values: list[float]) -> None:
    axis = plots.over(*values)
    labels = [axis.tick(tick, signed=True) for tick in axis.ticks]
    assert len(set(labels)) == len(labels)
    shown = axis.labelled(115, signed=True)
    assert set(shown) <= set(axis.ticks)
    assert 0.0 not in axis.ticks or 0.0 in shown


@pytest.mark.parametrize("low", [0.97, 0.9, 0.5])
def test_close_runs_are_no_dot_apart(low: float) -> None:
    """97.1 and 100 %: on an axis from 0 to 1 their dots of 8 pixels overlap."""
    found = [Estimate(512, value, value - 0.005, min(1.0, value + 0.005), "") for value in (low, 1.0)]
    axis = plots.estimates(*found)
    assert abs(axis.at(1.0) - axis.at(low)) > 50
    assert max(axis.ticks) <= 1.0


@given(st.lists(st.tuples(st.floats(0.3, 1), st.floats(0.3, 1)), min_size=1, max_size=5, unique=True))
def test_names_in_the_figure_stay_inside_and_are_all_there(places: list[tuple[float, float]]) -> None:
    def estimate(value: float) -> Estimate:
        return Estimate(100, value, max(0.0, value - 0.02), min(1.0, value + 0.02), "")

    runs = [Point(f"run-{n}", estimate(x), estimate(y), False, f"run-{n}") for n, (x, y) in enumerate(places)]
    x, y = plots.estimates(*(one.x for one in runs)), plots.estimates(*(one.y for one in runs))
    found = _labelled(runs, x, y)
    assert [one.label for one in found] == [one.label for one in runs]
    for one in found:
        others = [box for other in found if other is not one for box in _marks(other, x, y)]
        assert _cost(_box(one, one.side, x, y), others) < 100
