"""The order in which a live gate draws tasks, which is part of its evidence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

_ORDER_STREAM = 0x6761_7465
"""Keeps the order of tasks apart from everything else that is drawn with the run's seed."""


def drawing_order(seed: int, task_ids: Sequence[str], grown: Sequence[int] = ()) -> list[str]:
    """Tasks in random order, fixed by the run's seed.

    Where the list grew, what was added stands in random order after what was there: a test that was fed the
    shorter list goes on, and isn't begun anew in another order.

    Args:
        seed: of the run.
        task_ids: of all tasks, in the order of the dataset.
        grown: how many there were before, each time that some were added.
    """
    ends = sorted({0, len(task_ids), *(size for size in grown if size < len(task_ids))})
    return [
        task_id
        for start, stop in itertools.pairwise(ends)
        for task_id in _shuffled(seed, task_ids[start:stop])
    ]


def _shuffled(seed: int, task_ids: Sequence[str]) -> list[str]:
    order = np.random.default_rng([seed, _ORDER_STREAM]).permutation(len(task_ids))
    return [task_ids[place] for place in order]
