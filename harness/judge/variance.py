"""Where a judge's scores vary: between tasks, between answers to a task, between judgements of an answer.

Scores are mean + task + answer + judgement, each part random with a variance of its own: a nested
random-effects model (Miller, "Adding Error Bars to Evals", arXiv 2411.00640, says what follows for
evaluations). The parts are estimated by the method of moments from the sums of squares of the nested analysis
of variance, also for unequal numbers (Searle, Casella and McCulloch, "Variance Components", 1992, chapter 5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from harness.judge.exposure import FloatArray, IntArray, compact, with_limits
from harness.stats import Estimate

VARIANCE = "variance."
TASKS, ANSWERS, REPEATS = "tasks", "answers", "repeats"
TASKS_AND_ANSWERS, ANSWERS_AND_REPEATS = "tasks_and_answers", "answers_and_repeats"
_LABEL = "nested analysis of variance, bootstrap by task"
_WORK, _LEAST_DRAWS = 50_000_000, 200
"""Most tasks drawn in one bootstrap, and the fewest resamples all the same."""
_WORTH_IT = 0.05
"""Narrowing of an interval by twice the requests below which they aren't worth their price."""
_WORDS = {
    TASKS: "between tasks",
    ANSWERS: "between answers to a task",
    REPEATS: "between judgements of an answer",
    TASKS_AND_ANSWERS: "between tasks and answers, which one answer a task doesn't tell apart",
    ANSWERS_AND_REPEATS: "between answers and judgements, which one judgement an answer doesn't tell apart",
}


def variance_parts(
    scores: FloatArray, tasks: IntArray, answers: IntArray, *, seed: int, draws: int = 2000
) -> dict[str, Estimate]:
    """The parts of a score's variance that the data tell apart, by name; none from fewer than two tasks.

    Args:
        scores: [N] one a judgement.
        tasks: [N] its task.
        answers: [N] its answer; each belongs to one task.
        seed: of the bootstrap.
        draws: resamples of whole tasks; fewer when there are many tasks.

    Returns:
        `tasks`, `answers` and `repeats` where some task has two answers and some answer two judgements.
        Where no task has two answers, `tasks_and_answers` and `repeats`; where no answer has two judgements,
        `tasks` and `answers_and_repeats`. Each n is how many there are: tasks, answers, judgements. A part
        that is estimated below 0 is 0.
    """
    if len(scores) == 0:
        return {}
    per_task = _sums(scores, compact(tasks), compact(answers))
    count = len(per_task)
    judgements, several = (int(per_task[:, place].sum()) for place in (0, 1))
    repeated, drawn = judgements > several, several > count
    if count < 2 or not (repeated or drawn):
        return {}
    names: dict[str, tuple[int, int]] = {
        TASKS if drawn else TASKS_AND_ANSWERS: (0, count),
        **({ANSWERS if repeated else ANSWERS_AND_REPEATS: (1, several)} if drawn else {}),
        **({REPEATS: (2, judgements)} if repeated else {}),
    }
    found = _parts(per_task.sum(axis=0), count)
    rng, share = np.random.default_rng(seed), np.full(count, 1.0 / count)
    affordable = max(_LEAST_DRAWS, min(draws, _WORK // count))
    replicates = np.array(
        [_parts(rng.multinomial(count, share) @ per_task, count) for _ in range(affordable)]
    )
    return {
        name: with_limits(n, found[place], replicates[:, place], _LABEL) for name, (place, n) in names.items()
    }


def variance_advice(parts: Mapping[str, Estimate]) -> str | None:
    """What lies where in the variance of the mean score, and what more of each would bring.

    Args:
        parts: as `variance_parts` gives them.

    Returns:
        One sentence; None where there are no parts, or scores don't vary.
    """
    shares = {name: (part.estimate or 0.0) / part.n for name, part in parts.items()}
    total = math.fsum(shares.values())
    if total <= 0.0:
        return None
    shares = {name: share / total for name, share in shares.items()}
    lying = ", ".join(f"{share:.0%} lies {_WORDS[name]}" for name, share in shares.items())
    below = list(shares)
    # Twice as many of one kind halve its part of the variance and the parts below it.
    narrower = {
        name: 1.0 - math.sqrt(1.0 - math.fsum(shares[one] for one in below[place:]) / 2.0)
        for place, name in enumerate(below)
    }
    more = {
        TASKS: "tasks",
        TASKS_AND_ANSWERS: "tasks",
        ANSWERS: "answers to each task",
        ANSWERS_AND_REPEATS: "answers to each task",
        REPEATS: "repeats",
    }
    gains = ", ".join(f"twice the {more[name]} by {gain:.0%}" for name, gain in narrower.items())
    useless = [more[name] for name, gain in narrower.items() if gain < _WORTH_IT]
    verdict = f"; add tasks rather than {' or '.join(useless)}" if useless else ""
    return f"of the variance of the mean score {lying}. Its interval narrows with {gains}{verdict}"


def _sums(scores: FloatArray, task: IntArray, answer: IntArray) -> FloatArray:
    """[T, 9] what each task adds to the sums that components are made of."""
    answers = int(answer.max()) + 1
    task_of = np.zeros(answers, dtype=np.int64)
    task_of[answer] = task
    # About the mean: sums of squares of numbers near 1 would lose the digits that matter.
    centred = scores - scores.mean()
    number: FloatArray = np.bincount(answer).astype(np.float64)
    total = np.bincount(answer, weights=centred).astype(np.float64)

    def by_task(values: npt.NDArray[np.float64]) -> FloatArray:
        return np.bincount(task_of, weights=values).astype(np.float64)

    judgements = by_task(number)
    sums = by_task(total)
    return np.stack(
        [
            judgements,
            by_task(np.ones(answers)),
            np.bincount(task, weights=centred**2),
            by_task(total**2 / number),
            sums**2 / judgements,
            sums,
            by_task(number**2) / judgements,
            by_task(number**2),
            judgements**2,
        ],
        axis=1,
    )


def _parts(totals: FloatArray, tasks: float) -> tuple[float, float, float]:
    """Variance between tasks, answers and judgements; what can't be told apart is in the part above it."""
    number, answers, squares, by_answer, by_task, total, per_task, of_answers, of_tasks = map(float, totals)
    repeats = _ratio(squares - by_answer, number - answers)
    within = _ratio(by_answer - by_task - (answers - tasks) * repeats, number - per_task)
    between = _ratio(
        by_task - total**2 / number - (tasks - 1) * repeats - (per_task - of_answers / number) * within,
        number - of_tasks / number,
    )
    return max(0.0, between), max(0.0, within), max(0.0, repeats)


def _ratio(excess: float, freedom: float) -> float:
    """0 where there is nothing to estimate it from."""
    return excess / freedom if freedom > 1e-9 else 0.0
