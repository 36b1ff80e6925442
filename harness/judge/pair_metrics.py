"""Numbers from two runs' rankings judged side by side, each pair in both orders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.judge.exposure import IntArray, compact, counts, self_agreement, sums, unscored_rates
from harness.judge.records import PairJudgement
from harness.metrics.columns import TaskTable
from harness.stats import Estimate, mean_interval, rate_by_task

_EVEN = 0.5


@dataclass(frozen=True, slots=True)
class _Pair:
    """One pair of rankings judged in both orders: 1 where this run won, ½ for a tie, 0 where it lost."""

    task: int
    shown_first: float
    shown_second: float
    identical: bool

    @property
    def value(self) -> float:
        return (self.shown_first + self.shown_second) / 2.0


MEASURES: dict[str, Callable[[float], float]] = {
    "preference": lambda value: value,
    "win_rate": lambda value: float(value == 1.0),
    "loss_rate": lambda value: float(value == 0.0),
    "tie_rate": lambda value: float(0.0 < value < 1.0),
}
"""What `pairwise.<rubric>.<other>.<measure>` makes of a pair's value: 1 won, 0 lost, else between."""


def pair_table(rows: Sequence[PairJudgement], task_ids: Sequence[str], measure: str) -> TaskTable:
    """One of `MEASURES` against one other run, added up by task; a pair without both verdicts is missing.

    Args:
        rows: judgements of pairs with that run.
        task_ids: of the run's tasks; those that no pair is of are left out.
        measure: a name in `MEASURES`.
    """
    number = {task_id: task for task, task_id in enumerate(task_ids)}
    units = _units(rows, {row.sample: number[row.task_id] for row in rows})
    asked, count = (np.zeros(len(number), dtype=np.int64) for _ in range(2))
    total = np.zeros(len(number))
    for task, shown in units:
        asked[task] += 1
        pair = _pair(task, shown)
        if pair is not None:
            count[task] += 1
            total[task] += MEASURES[measure](pair.value)
    there = asked > 0
    return TaskTable(
        tuple(task_id for task_id, task in number.items() if there[task]),
        total[there],
        count[there],
        (asked - count)[there],
        np.zeros(int(there.sum()), dtype=np.int64),
        is_rate=measure != "preference",
        counts_always=True,
    )


def pair_metrics(
    rubric: str, rows: Sequence[PairJudgement], task_of: Mapping[str, int], seed: int
) -> dict[str, Estimate]:
    """Metrics `pairwise.<rubric>.<other>.…` of every other run this one was compared with.

    - `preference`: mean over pairs of 1 for a win of this run, ½ for a tie, 0 for a loss, averaged over both
      orders; identical rankings are ties. ½ is no preference.
    - `win_rate`, `loss_rate`, `tie_rate`: a win or loss counts when both orders say so, else it is a tie
      (Zheng et al., "Judging LLM-as-a-judge with MT-Bench and Chatbot Arena", NeurIPS 2023, section 3.4).
    - `identical_rate`: share of pairs that needed no judge, since both rankings are the same.
    - `inconsistent`: share of judged pairs whose verdict depends on the order.
    - `position_bias`: share of verdicts other than ties that went to the ranking shown first. Every pair is
      shown both ways, so ½ is no bias.
    - `self_agreement`: quadratic-weighted κ between the two orders.
    - `unscored`, `unscored.<reason>`: shares of answers without a verdict. A pair with one of its two orders
      unscored counts in none of the above.

    Args:
        rubric: name of the rubric.
        rows: its judgements of pairs.
        task_of: task of each of this run's samples.
        seed: of the bootstrap of κ.
    """
    by_other: dict[str, list[PairJudgement]] = defaultdict(list)
    for row in rows:
        by_other[row.other].append(row)
    metrics: dict[str, Estimate] = {}
    for other, theirs in sorted(by_other.items()):
        metrics |= _against(f"pairwise.{rubric}.{other}", theirs, task_of, seed)
    return metrics


def _against(
    name: str, rows: Sequence[PairJudgement], task_of: Mapping[str, int], seed: int
) -> dict[str, Estimate]:
    pairs = [pair for unit in _units(rows, task_of) if (pair := _pair(*unit))]
    asked = [pair for pair in pairs if not pair.identical]
    metrics = {
        f"{name}.preference": _mean(pairs, [pair.value for pair in pairs]),
        **{
            f"{name}.{measure}": _rate(pairs, [bool(of_value(pair.value)) for pair in pairs])
            for measure, of_value in MEASURES.items()
            if measure != "preference"
        },
        f"{name}.identical_rate": _rate(pairs, [pair.identical for pair in pairs]),
        f"{name}.inconsistent": _rate(asked, [pair.shown_first != pair.shown_second for pair in asked]),
        f"{name}.position_bias": _position_bias(asked),
        f"{name}.self_agreement": self_agreement(
            np.array([pair.shown_first for pair in asked], dtype=np.float64),
            np.array([pair.shown_second for pair in asked], dtype=np.float64),
            np.array([pair.task for pair in asked], dtype=np.int64),
            seed=seed,
        ),
    }
    sent = [row for row in rows if row.shown is not None]
    return metrics | unscored_rates(
        name, [row.unscored for row in sent], [task_of[row.sample] for row in sent]
    )


def _units(
    rows: Sequence[PairJudgement], task_of: Mapping[str, int]
) -> list[tuple[int, dict[str | None, PairJudgement]]]:
    """Each pair that was asked about: its task, and the verdicts by what was shown first."""
    units: dict[tuple[int, str, int, int], dict[str | None, PairJudgement]] = defaultdict(dict)
    for row in rows:
        units[task_of[row.sample], row.sample, row.order_seed, row.repeat][row.shown] = row
    return [(task, shown) for (task, *_), shown in sorted(units.items())]


def _pair(task: int, shown: Mapping[str | None, PairJudgement]) -> _Pair | None:
    """A pair, None where one of its two verdicts is missing."""
    if None in shown:
        return _Pair(task, _EVEN, _EVEN, identical=True)
    first, second = shown.get("first"), shown.get("second")
    if first and second and first.better and second.better:
        return _Pair(task, _value(first), _value(second), identical=False)
    return None


def _value(row: PairJudgement) -> float:
    return _EVEN if row.better == "tie" else float(row.better == row.shown)


def _mean(pairs: Sequence[_Pair], values: Sequence[float]) -> Estimate:
    task = _tasks(pairs)
    return mean_interval(sums(task, values), counts(task))


def _rate(pairs: Sequence[_Pair], hits: Sequence[bool]) -> Estimate:
    task = _tasks(pairs)
    return rate_by_task(sums(task, hits).astype(np.int64), counts(task))


def _position_bias(pairs: Sequence[_Pair]) -> Estimate:
    task = _tasks(pairs)
    # Shown first and won, or shown second and lost: the first position won.
    first = [(pair.shown_first == 1.0) + (pair.shown_second == 0.0) for pair in pairs]
    decided = [(pair.shown_first != _EVEN) + (pair.shown_second != _EVEN) for pair in pairs]
    return mean_interval(sums(task, first), sums(task, decided), most=2 * int(counts(task).max(initial=0)))


def _tasks(pairs: Sequence[_Pair]) -> IntArray:
    return compact([pair.task for pair in pairs])
