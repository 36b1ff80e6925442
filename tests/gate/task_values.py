"""Tables of tasks with one sample each, whose value is known, absent or not there yet."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.metrics.columns import TaskTable

MISSING = "missing"
"""In place of a value: a sample that isn't there."""


def task_table(values: Mapping[str, float | str | None], *, counts_always: bool = False) -> TaskTable:
    """None is a sample without a value, such as one that didn't parse."""
    known = [value if isinstance(value, float) else None for value in values.values()]
    return TaskTable(
        tuple(values),
        np.array([value or 0.0 for value in known]),
        np.array([value is not None for value in known], dtype=np.int64),
        np.array([value == MISSING for value in values.values()], dtype=np.int64),
        np.array([value is None for value in values.values()], dtype=np.int64),
        is_rate=False,
        counts_always=counts_always,
    )
