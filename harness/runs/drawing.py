"""The order in which a live gate draws tasks, which is part of its evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ORDER_STREAM = 0x6761_7465
"""Keeps the order of tasks apart from everything else that is drawn with the run's seed."""


def drawing_order(seed: int, task_ids: Sequence[str]) -> list[str]:
    """Tasks in random order, fixed by the run's seed."""
    shuffled = np.random.default_rng([seed, _ORDER_STREAM]).permutation(len(task_ids))
    return [task_ids[place] for place in shuffled]
