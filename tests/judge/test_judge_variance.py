"""The split of a score's variance against projections, a balanced analysis by hand, and planted worlds."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.judge.variance import variance_advice, variance_parts
from harness.stats import Estimate


def world(rng, tasks, answers, repeats, spread=(0.2, 0.1, 0.05)):
    """Scores with these standard deviations between tasks, answers and judgements; numbers may be ranges."""

    def number(of):
        return of if isinstance(of, int) else int(rng.integers(of[0], of[1] + 1))

    scores, task_of, answer_of, answer = [], [], [], 0
    for task in range(tasks):
        height = 0.5 + spread[0] * rng.standard_normal()
        for _ in range(number(answers)):
            middle = height + spread[1] * rng.standard_normal()
            for _ in range(number(repeats)):
                scores.append(middle + spread[2] * rng.standard_normal())
                task_of.append(task)
                answer_of.append(answer)
            answer += 1
    return np.array(scores), np.array(task_of), np.array(answer_of)


def by_projections(scores, tasks, answers):
    """Henderson's first method from expected values of quadratic forms: E[y'Qy] = Σ σ² tr(Q ZZ')."""
    one = np.ones((len(scores), 1))
    levels = [one, *(np.eye(at.max() + 1)[at] for at in (tasks, answers)), np.eye(len(scores))]
    onto = [z @ np.linalg.pinv(z) for z in levels]
    forms = [upper - lower for lower, upper in pairwise(onto)]
    centred = scores - scores.mean()
    squares = [centred @ form @ centred for form in forms]
    traces = [[np.trace(form @ z @ z.T) for z in levels[1:]] for form in forms]
    return np.linalg.solve(traces, squares)


@given(st.integers(0, 10**6))
def test_unequal_numbers_are_solved_like_projections(seed):
    data = world(np.random.default_rng(seed), 7, (1, 3), (1, 3), (0.5, 0.1, 0.1))
    _, tasks, answers = data
    assume(len(set(tasks)) < len(set(answers)) < len(answers))
    found = variance_parts(*data, seed=0, draws=2)
    expected = by_projections(*data)
    # Below 0 a part is 0, and the parts above it are what they are without that.
    assume((expected > 0).all())
    assert [part.estimate for part in found.values()] == pytest.approx(expected, rel=1e-6)


def test_planted_parts_come_back():
    rng = np.random.default_rng(0)
    found = [
        [part.estimate for part in variance_parts(*world(rng, 60, (1, 4), (1, 3)), seed=0, draws=2).values()]
        for _ in range(200)
    ]
    error = np.std(found, axis=0) / np.sqrt(200)
    assert (np.abs(np.mean(found, axis=0) - [0.04, 0.01, 0.0025]) < 4 * error).all()


def test_intervals_hold_the_planted_parts():
    rng = np.random.default_rng(1)
    held = np.zeros(3)
    for _ in range(100):
        parts = variance_parts(*world(rng, 80, 3, 2), seed=0, draws=400)
        held += [
            part.low <= truth <= part.high
            for part, truth in zip(parts.values(), (0.04, 0.01, 0.0025), strict=True)
        ]
    assert (held >= 82).all()


@pytest.mark.parametrize(
    ("answers", "repeats", "names"),
    [
        (3, 2, ["tasks", "answers", "repeats"]),
        (1, 2, ["tasks_and_answers", "repeats"]),
        (3, 1, ["tasks", "answers_and_repeats"]),
        (1, 1, []),
    ],
)
def test_only_what_the_data_tell_apart_is_given(answers, repeats, names):
    data = world(np.random.default_rng(2), 400, answers, repeats)
    parts = variance_parts(*data, seed=0, draws=50)
    assert list(parts) == names
    total = sum(part.estimate for part in parts.values())
    if names:
        assert total == pytest.approx(0.04 + 0.01 + 0.0025, rel=0.2)
        numbers = {
            "tasks": 400,
            "tasks_and_answers": 400,
            "answers": 400 * answers,
            "repeats": 400 * answers * repeats,
        }
        numbers["answers_and_repeats"] = 400 * answers
        assert {name: part.n for name, part in parts.items()} == {name: numbers[name] for name in names}


def test_one_task_or_none_says_nothing():
    rng = np.random.default_rng(3)
    assert variance_parts(*world(rng, 1, 3, 2), seed=0) == {}
    empty = np.array([], dtype=np.int64)
    assert variance_parts(empty.astype(float), empty, empty, seed=0) == {}


def part(value, n):
    return Estimate(n, value, None, None, "")


def test_advice_says_what_more_of_each_brings():
    """By hand: 0.04/100 + 0.02/400 + 0.12/800 are 67, 8 and 25 %; halving from there down."""
    said = variance_advice({"tasks": part(0.04, 100), "answers": part(0.02, 400), "repeats": part(0.12, 800)})
    assert "67% lies between tasks, 8% lies between answers to a task, 25% lies between judgements" in said
    assert "twice the tasks by 29%, twice the answers to each task by 9%, twice the repeats by 6%" in said
    assert "rather than" not in said


def test_advice_names_what_isnt_worth_its_price():
    said = variance_advice({"tasks_and_answers": part(0.04, 100), "repeats": part(0.01, 200)})
    assert said.endswith("twice the tasks by 29%, twice the repeats by 3%; add tasks rather than repeats")


def test_scores_that_dont_vary_need_no_advice():
    assert variance_advice({}) is None
    assert variance_advice({"tasks": part(0.0, 10), "answers_and_repeats": part(0.0, 20)}) is None
