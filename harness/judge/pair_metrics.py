"""Numbers from two runs' rankings judged side by side, each pair in both orders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.judge.exposure import IntArray, compact, counts, self_agreement, sums, unscored_rates
from harness.judge.records import PairJudgement
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
    pairs = _pairs(rows, task_of)
    asked = [pair for pair in pairs if not pair.identical]
    metrics = {
        f"{name}.preference": _mean(pairs, [pair.value for pair in pairs]),
        f"{name}.win_rate": _rate(pairs, [pair.value == 1.0 for pair in pairs]),
        f"{name}.loss_rate": _rate(pairs, [pair.value == 0.0 for pair in pairs]),
        f"{name}.tie_rate": _rate(pairs, [0.0 < pair.value < 1.0 for pair in pairs]),
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


def _pairs(rows: Sequence[PairJudgement], task_of: Mapping[str, int]) -> list[_Pair]:
    units: dict[tuple[int, str, int, int], dict[str | None, PairJudgement]] = defaultdict(dict)
    for row in rows:
        units[task_of[row.sample], row.sample, row.order_seed, row.repeat][row.shown] = row
    pairs = []
    for (task, *_), shown in sorted(units.items()):
        if None in shown:
            pairs.append(_Pair(task, _EVEN, _EVEN, identical=True))
            continue
        first, second = shown.get("first"), shown.get("second")
        if first and second and first.better and second.better:
            pairs.append(_Pair(task, _value(first), _value(second), identical=False))
    return pairs


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
