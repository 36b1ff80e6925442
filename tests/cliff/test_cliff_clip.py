"""ĉ from logged ratios: exact where a clip was planted, a lower bound where none was."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cliff import CliffDomainError, clip_demand, estimate_clip, known_clip
from tests.examples import examples

CLIPS = [1.05, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0]


def planted_log_ratios(c: float, n: int, seed: int) -> np.ndarray:
    """Log-ratios of which about 3 % lie beyond either end of the clip."""
    return np.random.default_rng(seed).standard_normal(n) * math.log(c) / 1.9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", CLIPS)
@pytest.mark.parametrize("n", [500, 20_000])
def test_planted_clip_is_found_exactly(c, dtype, n):
    ratios = np.exp(planted_log_ratios(c, n, 5)).astype(dtype)
    both = estimate_clip(np.clip(ratios, dtype(1 / c), dtype(c)))
    assert (both.value, both.side, both.lower_bound) == (c, "both", c)
    upper = estimate_clip(np.minimum(ratios, dtype(c)))
    assert (upper.value, upper.side, upper.lower_count) == (c, "upper", 0)
    assert upper.upper_count == int(np.sum(ratios >= dtype(c)))
    lower = estimate_clip(np.maximum(ratios, dtype(1 / c)))
    assert (lower.value, lower.side, lower.upper_count) == (c, "lower", 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", CLIPS)
def test_planted_clip_is_found_in_log_ratios(c, dtype):
    logs = np.clip(planted_log_ratios(c, 5000, 6).astype(dtype), dtype(-math.log(c)), dtype(math.log(c)))
    assert estimate_clip(logs, log=True).value == c


def test_float32_rounding_of_the_saturated_value_is_one_pile():
    rng = np.random.default_rng(7)
    ratios = np.minimum(np.exp(planted_log_ratios(5.0, 5000, 7)), 5.0)
    # Saturated ratios that went through another float32 multiplication or two.
    wobble = np.where(ratios == 5.0, 1 + rng.integers(-1, 2, ratios.size) * np.finfo(np.float32).eps, 1.0)
    found = estimate_clip((ratios * wobble).astype(np.float32))
    assert found.value == 5.0
    assert found.upper_count == int(np.sum(ratios == 5.0))


def test_float32_log_of_a_float64_file_is_read_as_float32():
    ratios = np.minimum(np.exp(planted_log_ratios(1.2, 5000, 8)).astype(np.float32), np.float32(1.2))
    assert estimate_clip(ratios.astype(np.float64)).value == 1.2


def test_asymmetric_clip_gives_the_smaller_strength_and_both_sides():
    found = estimate_clip(np.clip(np.exp(planted_log_ratios(1.2, 5000, 9)), 0.8, 1.2))
    assert found.side == "both"
    assert (found.upper_value, found.lower_value) == (1.2, 1.25)
    assert found.value == 1.2


def test_three_saturated_ratios_among_many_are_enough():
    ratios = np.sort(np.exp(np.random.default_rng(3).standard_normal(2000) * 0.3))
    c = 0.5 * (ratios[-3] + ratios[-4])
    assert estimate_clip(np.minimum(ratios, c)).value == pytest.approx(c, rel=1e-12)


def natural_ratios(kind: str, n: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    draws = {
        "normal": lambda: rng.standard_normal(n),
        "heavy": lambda: np.clip(rng.standard_t(3, n), -60, 60),
        "laplace": lambda: rng.laplace(size=n),
        "grid": lambda: np.round(rng.standard_normal(n) * 3) / 3,
        "per sequence": lambda: np.repeat(rng.standard_normal(max(2, n // 20)), 20),
    }
    return np.exp(scale * draws[kind]())


@pytest.mark.parametrize("kind", ["normal", "heavy", "laplace", "grid", "per sequence"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_natural_maximum_is_no_clip(kind, dtype):
    rng = np.random.default_rng(10)
    for scale in (1e-7, 1e-5, 1e-3, 0.05, 0.3, 1.0):
        for n in (10, 1000, 50_000):
            for _ in range(5):
                ratios = natural_ratios(kind, n, scale, rng).astype(dtype)
                found = estimate_clip(ratios)
                assert found.value is None, (kind, scale, n)
                assert found.lower_bound == max(1.0, float(ratios.max()))
                assert (found.side, found.saturated) == ("none", False)
                assert found.effective == found.lower_bound


def test_on_policy_ratios_say_nothing():
    found = estimate_clip(np.ones(1000))
    assert (found.value, found.lower_bound) == (None, 1.0)
    mixed = np.concatenate([np.ones(900), np.exp(np.random.default_rng(0).standard_normal(100) * 0.1)])
    assert estimate_clip(mixed).value is None


@examples(40)
@given(st.integers(0, 2**31), st.sampled_from(CLIPS))
def test_order_of_ratios_does_not_matter(seed, c):
    ratios = np.clip(np.exp(planted_log_ratios(c, 400, seed)), 1 / c, c)
    shuffled = np.random.default_rng(seed).permutation(ratios)
    assert estimate_clip(shuffled) == estimate_clip(ratios)


@pytest.mark.parametrize(
    ("ratios", "log", "reason"),
    [
        ([], False, "non-empty"),
        ([[1.0, 2.0]], False, "non-empty"),
        ([1.0, math.nan, 2.0], False, "1 of 3"),
        ([1.0, math.inf], False, "1 of 2"),
        ([1.0, -0.5], False, "above 0"),
        ([1.0, 0.0], False, "above 0"),
        ([0.1, math.nan], True, "1 of 2"),
        ([0.1, 900.0], True, "too large"),
        (["a", "b"], False, "numbers"),
        ([1.0, None], False, "numbers"),
    ],
)
def test_bad_ratios_are_refused_in_one_line(ratios, log, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        estimate_clip(ratios, log=log)
    assert "\n" not in str(caught.value)


def test_known_clip():
    assert (known_clip(5).effective, known_clip(5).side, known_clip(5, "config").source) == (
        5.0,
        "given",
        "config",
    )
    for bad in (1.0, 0.2, -3.0, math.nan, math.inf):
        with pytest.raises(CliffDomainError, match="above 1"):
            known_clip(bad)


def test_demand_on_the_clip():
    demand = clip_demand(np.log([0.5, 1.0, 2.0, 4.0, 8.0]), 5.0)
    assert demand.n == 5
    assert demand.median == pytest.approx(2.0)
    assert demand.largest == pytest.approx(8.0)
    assert demand.share_beyond == 0.2
    excluded = clip_demand([-math.inf, -math.inf, math.log(2.0)], 5.0)
    assert (excluded.median, excluded.largest, excluded.share_beyond) == (0.0, pytest.approx(2.0), 0.0)
    with pytest.raises(CliffDomainError, match="no off-class"):
        clip_demand([], 5.0)
    for bad in (math.nan, math.inf):
        with pytest.raises(CliffDomainError, match="finite"):
            clip_demand([bad], 5.0)
