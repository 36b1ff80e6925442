"""The prediction-powered mean against the papers' own definition, and what it promises, by simulation."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.prediction_powered import LEAST_LABELLED, LEAST_UNLIKE, prediction_powered_mean


def grades(rng, count, labelled):
    """Labels 1 to 5 of the first, a judge's scores on [0, 1] of all, one entry a task; and all labels."""
    quality = rng.standard_normal(count)
    truth = np.clip(np.round(3 + 1.2 * quality + 0.6 * rng.standard_normal(count)), 1, 5)
    judged = 1 / (1 + np.exp(-(quality + 0.5 * rng.standard_normal(count))))
    return np.where(np.arange(count) < labelled, truth, np.nan), judged, truth


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 60))
def test_the_estimate_minimises_the_papers_loss(seed, labelled, rest):
    """PPI++ (arXiv 2311.01453), equation 3: L_n + λ (L̃_N^f − L_n^f) of squared error, at the λ in use."""
    labels, judged, _ = grades(np.random.default_rng(seed), labelled + rest, labelled)
    found = prediction_powered_mean(labels, judged, np.arange(labelled + rest))
    y, f, unlabelled = labels[:labelled], judged[:labelled], judged[labelled:]

    def loss(theta):
        extra = np.mean((unlabelled - theta) ** 2) - np.mean((f - theta) ** 2)
        return np.mean((y - theta) ** 2) + found.weight * extra

    assert found.estimate == pytest.approx(scipy.optimize.minimize_scalar(loss).x, abs=1e-4)
    assert (found.labelled, found.predicted) == (labelled, labelled + rest)


@given(st.integers(0, 10**6))
def test_the_weight_is_the_papers_for_one_entry_a_task(seed):
    """λ̂ = Cov(Y, f) / ((1 + n/N) Var f), here with each variance taken in its own part."""
    labels, judged, _ = grades(np.random.default_rng(seed), 200, 50)
    found = prediction_powered_mean(labels, judged, np.arange(200))
    y, f, rest = labels[:50], judged[:50], judged[50:]
    best = np.cov(y, f, bias=True)[0, 1] / 50 / (f.var() / 50 + rest.var() / 150)
    assert found.weight == pytest.approx(max(0.0, best))


def test_a_judge_that_copies_people_is_worth_all_its_scores():
    rng = np.random.default_rng(0)
    truth = rng.integers(1, 6, 400).astype(float)
    labels = np.where(np.arange(400) < 40, truth, np.nan)
    found = prediction_powered_mean(labels, (truth - 1) / 4, np.arange(400))
    assert found.weight == pytest.approx(4, rel=0.15)
    assert found.estimate == pytest.approx(truth.mean(), abs=0.05)
    assert found.worth > 250


def test_labels_of_everything_are_their_own_mean():
    labels, judged, truth = grades(np.random.default_rng(1), 60, 60)
    found = prediction_powered_mean(labels, judged, np.arange(60))
    student = scipy.stats.ttest_1samp(truth, 0).confidence_interval(0.95)
    assert found.estimate == pytest.approx(truth.mean())
    assert (found.low, found.high) == pytest.approx((student.low, student.high))
    assert found.worth == pytest.approx(60)


@pytest.mark.parametrize("labelled", [12, 40])
def test_intervals_hold_the_truth_and_the_estimate_isnt_biased(labelled):
    rng = np.random.default_rng(2)
    mean = grades(rng, 1_000_000, 0)[2].mean()
    found = []
    for _ in range(600):
        labels, judged, _ = grades(rng, 200, labelled)
        found.append(prediction_powered_mean(labels, judged, np.arange(200)))
    missed = np.mean([one.low is not None and not one.low <= mean <= one.high for one in found])
    errors = np.array([one.estimate for one in found]) - mean
    assert missed <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
    assert abs(errors.mean()) <= 4 * errors.std() / np.sqrt(600)
    # Narrower than people alone, whose standard error is 1.3 / √labelled.
    assert errors.std() < 0.9 * 1.3 / np.sqrt(labelled)


def test_entries_of_a_task_that_are_alike_count_once():
    """Ten copies of every entry: the same estimate, and no narrower an interval."""
    labels, judged, _ = grades(np.random.default_rng(3), 80, 30)
    once = prediction_powered_mean(labels, judged, np.arange(80))
    often = prediction_powered_mean(
        np.repeat(labels, 10), np.repeat(judged, 10), np.repeat(np.arange(80), 10)
    )
    assert (often.estimate, often.weight) == pytest.approx((once.estimate, once.weight))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_too_few_labels_or_too_much_alike_give_no_interval():
    labels, judged, _ = grades(np.random.default_rng(4), 100, LEAST_LABELLED - 1)
    few = prediction_powered_mean(labels, judged, np.arange(100))
    assert few.estimate is not None
    assert (few.low, few.high, few.worth) == (None, None, None)
    alike = np.full(100, np.nan)
    alike[:50] = 5.0
    alike[: LEAST_UNLIKE - 1] = 4.0
    assert prediction_powered_mean(alike, judged, np.arange(100)).low is None
    alike[LEAST_UNLIKE - 1] = 4.0
    assert prediction_powered_mean(alike, judged, np.arange(100)).low is not None


def test_without_labels_there_is_nothing():
    assert prediction_powered_mean([np.nan] * 3, [0.1, 0.2, 0.3], [0, 1, 2]) is None
    assert prediction_powered_mean([], [], []) is None


@pytest.mark.parametrize(
    ("labels", "predictions", "tasks"),
    [([1.0], [0.5, 0.5], [0]), ([1.0], [np.nan], [0]), ([[1.0]], [[0.5]], [[0]])],
)
def test_what_doesnt_fit_is_refused(labels, predictions, tasks):
    with pytest.raises(ValueError, match=r"shapes|finite"):
        prediction_powered_mean(labels, predictions, tasks)
