import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.plots import Axis

GRID = (1.0, 1.1, 1.2, 1.4, 1.8, 2.6)


@pytest.mark.parametrize("unit", [None, 0.1])
def test_an_axis_keeps_its_ends_and_holds_what_lies_outside(unit):
    axis = Axis(1.0, 2.6, GRID, unit)
    assert [axis.at(value) for value in (-3.0, 1.0, 2.6, math.inf)] == [0.0, 0.0, 100.0, 100.0]


@given(st.lists(st.floats(1.0, 2.6), min_size=2, max_size=5), st.sampled_from([None, 0.1, 3.0]))
def test_order_is_kept(values, unit):
    axis = Axis(1.0, 2.6, GRID, unit)
    places = [axis.at(value) for value in sorted(values)]
    assert places == sorted(places)


def test_a_grid_that_doubles_its_distance_from_one_is_evenly_spaced_on_a_logarithmic_axis():
    axis = Axis(1.0, 2.6, GRID, unit=0.1)
    # log(1 + 1) below log(1 + 2), then nearly equal steps: 2, 4, 8, 16 units from 1.
    steps = [axis.at(later) - axis.at(earlier) for earlier, later in itertools.pairwise(GRID[1:])]
    assert max(steps) / min(steps) < 1.6
    assert Axis(1.0, 2.6, GRID).at(1.2) < axis.at(1.2) / 2
