"""λ reached against scipy's minimum of the same divergence, and planted mixtures."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from harness.cliff.line_sums import NODES, LineSums
from harness.cliff.reached import Reached, lambda_reached

VOCABULARY, POSITIONS = 12, 6


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sums_of(student: np.ndarray, teacher: np.ndarray, base: np.ndarray) -> LineSums:
    """From log probabilities [positions, vocabulary]."""
    gain = teacher - base
    partition, slope, curvature = [], [], []
    for node in NODES:
        scores = base + node * gain
        total = np.log(np.exp(scores).sum(axis=-1))
        partition.append(total.sum())
        weights = np.exp(scores - total[:, None])
        mean = (weights * gain).sum(axis=-1)
        slope.append(mean.sum())
        curvature.append((weights * gain**2).sum() - (mean**2).sum())
    mass = np.exp(student)
    return LineSums(
        len(student),
        float((mass * gain).sum()),
        float((mass * (student - base)).sum()),
        np.array(partition),
        np.array(slope),
        np.array(curvature),
    )


def models(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(POSITIONS, VOCABULARY)) * 1.5
    return log_softmax(base + rng.normal(size=base.shape)), log_softmax(base)


@given(st.integers(0, 10_000), st.floats(-1.5, 9.0))
def test_a_mixture_is_found_and_lies_on_the_line(seed: int, mu: float) -> None:
    teacher, base = models(seed)
    student = log_softmax(mu * teacher + (1.0 - mu) * base)
    found = lambda_reached(range(8), [sums_of(student, teacher, base)] * 8, seed=0, draws=50)
    reached, off = found.lambda_reached, found.off_the_line
    assert reached.estimate == pytest.approx(mu, abs=0.002, rel=0.002)
    assert off.estimate == pytest.approx(0.0, abs=1e-4)
    assert found.tokens == 8 * POSITIONS
    # All tasks agree, and what is left is what the curve between nodes may be wrong by.
    assert reached.low is not None
    assert reached.high is not None
    assert reached.low <= mu <= reached.high
    assert off.low == 0.0


@given(st.integers(0, 10_000))
def test_it_is_the_minimum_of_the_divergence(seed: int) -> None:
    teacher, base = models(seed)
    rng = np.random.default_rng([seed, 1])
    student = log_softmax(1.4 * teacher - 0.4 * base + rng.normal(size=base.shape) * 0.7)

    def divergence(mu: float) -> float:
        line = log_softmax(mu * teacher + (1.0 - mu) * base)
        return float((np.exp(student) * (student - line)).sum() / POSITIONS)

    best = scipy.optimize.minimize_scalar(divergence, bounds=(NODES[0], NODES[-1]), method="bounded")
    found = lambda_reached([0], [sums_of(student, teacher, base)], seed=0)
    if NODES[0] + 0.1 < best.x < NODES[-1] - 0.1:
        assert found.lambda_reached.estimate == pytest.approx(best.x, abs=0.002, rel=0.002)
    assert found.off_the_line.estimate == pytest.approx(best.fun, rel=0.002, abs=1e-4)


def test_intervals_come_from_tasks_and_cover() -> None:
    """Students that stand at 1.5 on average, each task elsewhere: the pooled μ of many tasks is covered."""

    def drawn(seed: int, tasks: int) -> list[LineSums]:
        rng = np.random.default_rng(seed)
        found = []
        for _ in range(tasks):
            teacher, base = models(int(rng.integers(1 << 30)))
            mu = 1.5 + rng.normal() * 0.5
            found.append(sums_of(log_softmax(mu * teacher + (1.0 - mu) * base), teacher, base))
        return found

    truth = lambda_reached(range(3000), drawn(10**6, 3000), seed=0, draws=10).lambda_reached.estimate
    assert truth is not None
    covered = 0
    for seed in range(100):
        interval = lambda_reached(range(40), drawn(seed, 40), seed=seed, draws=400).lambda_reached
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= truth <= interval.high
    assert covered >= 88


def test_beyond_the_ends_is_said() -> None:
    teacher, base = models(0)
    student = log_softmax(40.0 * teacher - 39.0 * base)
    found = lambda_reached([0], [sums_of(student, teacher, base)], seed=0)
    assert found.lambda_reached.estimate is None
    assert "beyond 12" in found.lambda_reached.method


def test_completions_of_one_task_go_together() -> None:
    teacher, base = models(3)
    one = sums_of(teacher, teacher, base)
    few = lambda_reached([0, 0, 1, 2, 3, 4, 5, 6], [one] * 8, seed=0).lambda_reached
    assert (few.n, few.low, few.method) == (7, None, "fewer than 8 tasks, no interval")
    many = lambda_reached(range(8), [one] * 8, seed=0).lambda_reached
    assert many.low is not None
    assert many.high is not None
    assert many.low <= 1.0 <= many.high
    assert many.high - many.low < 0.01
    with pytest.raises(ValueError, match="one each"):
        lambda_reached([0], [], seed=0)


@given(st.integers(0, 10_000))
def test_the_way_from_the_base_is_one_part_along_the_line_and_one_off_it(seed: int) -> None:
    teacher, base = models(seed)
    rng = np.random.default_rng([seed, 2])
    student = log_softmax(2.0 * teacher - base + rng.normal(size=base.shape) * 0.7)
    found = lambda_reached([0], [sums_of(student, teacher, base)], seed=0)
    mu, off, along = (
        one.estimate for one in (found.lambda_reached, found.off_the_line, found.along_the_line)
    )
    if mu is None or off is None or along is None:
        return
    whole = float((np.exp(student) * (student - base)).sum() / POSITIONS)
    line = log_softmax(mu * teacher + (1.0 - mu) * base)
    assert along * whole == pytest.approx(float((np.exp(line) * (line - base)).sum() / POSITIONS), abs=0.03)
    assert along == pytest.approx(1.0 - off / whole, abs=1e-9)


def placed(student: np.ndarray, teacher: np.ndarray, base: np.ndarray) -> Reached:
    """Ten tasks, alike but for a little noise in the student."""
    rng = np.random.default_rng(5)
    sums = [
        sums_of(log_softmax(student + rng.normal(size=base.shape) * 0.01), teacher, base) for _ in range(10)
    ]
    return lambda_reached(range(10), sums, seed=0)


def test_what_became_of_a_student_in_words() -> None:
    teacher, base = models(4)
    elsewhere = log_softmax(np.random.default_rng(9).normal(size=base.shape) * 3.0)
    on_line = placed(log_softmax(1.5 * teacher - 0.5 * base), teacher, base)
    assert [on_line.standing(lam) for lam in (3.0, 1.5, 1.0)] == ["short", "at", "past"]
    assert on_line.words(3.0, 0.99).startswith("on the line and short of λ = 3: λ reached 1.5")
    assert on_line.words(None, None).startswith("on the line and past its teacher, λ = 1: λ reached 1.5")
    assert on_line.words(None, None).endswith("nats a token (10 tasks)")
    assert "past λ = 1" in on_line.words(1.0, 0.0)
    assert placed(base, teacher, base).standing(2.0) == "at_base"
    off = placed(elsewhere, teacher, base)
    assert off.standing(2.0) == "off"
    assert off.words(2.0, 0.1).startswith("collapsed, but not by extrapolation: λ reached")
    assert off.words(2.0, 0.1).endswith("nats a token (10 tasks): look at the optimiser")
    assert "collapsed" not in off.words(2.0, 0.9)
    masked = dataclasses.replace(placed(base, teacher, base), masked=True)
    assert masked.words(2.0, 0.4).startswith("short of its teacher, from which a line with a mask goes on: λ")
    assert dataclasses.replace(on_line, masked=True).words(2.0, 0.9) == on_line.words(2.0, 0.9)
    beyond = placed(log_softmax(40.0 * teacher - 39.0 * base), teacher, base)
    assert beyond.standing(2.0) == "past"
    # A student past its teacher, with teacher and base exchanged.
    swapped = placed(log_softmax(1.5 * teacher - 0.5 * base), base, teacher)
    assert swapped.words(2.0, 0.9).startswith("on the line and before its base, away from its teacher: are ")
    assert swapped.standing(1.0) == "before"
    sums = [sums_of(log_softmax(1.5 * teacher - 0.5 * base), teacher, base)] * 4
    few = lambda_reached(range(4), sums, seed=0)
    assert few.words(None, 1.0).startswith(
        "on the line; no interval tells on which side of its teacher, λ = 1"
    )
    alike = placed(teacher, base, base)
    assert alike.standing(1.0) == "no_line"
    assert alike.words(None, 1.0) == "teacher and base are alike, so there is no line to be on"
