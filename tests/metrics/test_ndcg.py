import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from harness.metrics import chance_ndcg, has_relevant, is_all_tied, ndcg_at
from harness.metrics.ranking import has_one_grade

CASES = json.loads((Path(__file__).parents[1] / "cases" / "ndcg.json").read_text(encoding="utf-8"))

labels = st.lists(st.integers(0, 4), min_size=2, max_size=12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_cases(case):
    value = ndcg_at(case["relevance"], case["ranking"], case["at"])
    if case["expected"] is None:
        assert value is None
    else:
        assert value == pytest.approx(case["expected"], abs=1e-9)


@given(labels.filter(any), st.randoms(use_true_random=False), st.integers(1, 14))
def test_agrees_with_sklearn_on_full_rankings(relevance, random, at):
    ranking = list(range(1, len(relevance) + 1))
    random.shuffle(ranking)
    gains = 2.0 ** np.array(relevance) - 1.0
    scores = np.zeros(len(relevance))
    for rank, number in enumerate(ranking):
        scores[number - 1] = -rank
    oracle = ndcg_score([gains], [scores], k=min(at, len(relevance)))
    assert ndcg_at(relevance, ranking, at) == pytest.approx(oracle, abs=1e-9)


@given(labels, st.lists(st.integers(-3, 15), max_size=20), st.integers(1, 14))
def test_any_list_of_numbers_scores_between_0_and_1(relevance, ranking, at):
    value = ndcg_at(relevance, ranking, at)
    assert (value is None) == (not has_relevant(relevance))
    assert value is None or 0.0 <= value <= 1.0 + 1e-12


@given(labels.filter(any), st.lists(st.integers(-3, 15), min_size=1, max_size=12), st.integers(1, 12))
def test_padding_never_helps(relevance, ranking, at):
    """A wrong or repeated number put in front can't raise the score."""
    assert ndcg_at(relevance, [0, *ranking], at) <= ndcg_at(relevance, ranking, at) + 1e-12
    assert ndcg_at(relevance, [ranking[0], *ranking], at) <= ndcg_at(relevance, ranking, at) + 1e-12


@given(labels.filter(any), st.integers(1, 12))
def test_sorting_by_label_scores_exactly_one(relevance, at):
    best = sorted(range(1, len(relevance) + 1), key=lambda number: -relevance[number - 1])
    assert ndcg_at(relevance, best, at) == 1.0


@pytest.mark.parametrize("relevance", [[3, 0, 1, 0, 2], [1, 0, 0, 0, 0], [2, 2, 2, 2, 2], [0.5, 0, 0, 4, 1]])
@pytest.mark.parametrize("at", [1, 2, 5, 9])
def test_chance_is_the_mean_over_all_permutations(relevance, at):
    numbers = range(1, len(relevance) + 1)
    every = [ndcg_at(relevance, order, at) for order in itertools.permutations(numbers)]
    assert chance_ndcg(relevance, at) == pytest.approx(math.fsum(every) / len(every), abs=1e-12)


def test_chance_is_undefined_without_a_relevant_candidate():
    assert chance_ndcg([0, 0], 1) is None


def test_label_predicates():
    assert is_all_tied([2, 2])
    assert is_all_tied([0, 0])
    assert not is_all_tied([0, 1])
    assert has_relevant([0, 0.1])
    assert not has_relevant([0, 0])


@pytest.mark.parametrize("bad", [[-1, 1], [math.nan, 1], [math.inf, 1]])
def test_labels_that_are_no_labels_are_refused(bad):
    with pytest.raises(ValueError, match="finite number"):
        ndcg_at(bad, [1, 2])


def test_at_below_one_is_refused():
    with pytest.raises(ValueError, match="at is 0"):
        ndcg_at([1, 0], [1], at=0)


@given(labels.filter(any))
def test_with_one_grade_of_relevance_the_first_rank_is_all_or_nothing(relevance):
    values = {ndcg_at(relevance, [first], 1) for first in range(1, len(relevance) + 1)}
    assert has_one_grade(relevance) == (values <= {0.0, 1.0})
