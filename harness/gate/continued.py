"""A stored run fed to tests that may be looked at any time, so that it can grow and be gated again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from harness.gate.advice import BarRule
from harness.gate.expression import BaselineRule
from harness.gate.following import Following
from harness.gate.looks import Levels
from harness.gate.sequential_rule import Said, SequentialRule, said_by_task
from harness.metrics.columns import TaskTable
from harness.runs import Run
from harness.runs.columns import lost, read_columns
from harness.runs.drawing import drawing_order
from harness.runs.gate_record import LookKind


def follow(
    rules: Sequence[BarRule],
    levels: Levels,
    tables: Mapping[str, TaskTable],
    baselines: Mapping[str, TaskTable],
    order: Sequence[str],
    *,
    whole_list: bool,
) -> Following:
    """Feed all tasks of a run to a test of each rule.

    Also those after the verdict, which stands: estimates and intervals are those of all there is.

    Args:
        rules: those about numbers.
        levels: error rates.
        tables: the run's metrics by task.
        baselines: the baseline's, of the rules that compare with it.
        order: ids of the tasks to feed, always the same from look to look.
        whole_list: whether rules are about this list of tasks alone.
    """
    tests = []
    for rule in rules:
        theirs = baselines[rule.metric] if isinstance(rule, BaselineRule) else None
        about = set(tables[rule.metric].task_ids)
        if theirs is not None:
            about &= set(theirs.task_ids)
        tests.append(
            SequentialRule(
                rule,
                levels=levels,
                rules=len(rules),
                tasks=about,
                baseline=theirs,
                counts_always=tables[rule.metric].counts_always,
                whole_list=whole_list,
            )
        )
    following = Following(tests, levels)
    said = [said_by_task(tables[rule.metric]) for rule in rules]
    for task_id in order:
        following.observe(task_id, [values.get(task_id, Said()) for values in said])
    return following


def order_of(run: Run, kind: LookKind, looks: Sequence[int] = ()) -> list[str]:
    """The tasks that are there in full, up to the first that isn't, in an order that growing only adds to.

    What a complete run was allowed to do without doesn't end it: it is fed as missing.

    A dataset may be sorted, easy tasks first, and a test that stops at the first sign would then be about
    those: what each look added stands in random order.

    Args:
        run: a stored run.
        kind: `live` for the order in which a live gate draws; else what each look added, look after look.
        looks: tasks that there were at each earlier look of this kind.
    """
    columns = read_columns(run, ())
    ids, whole = columns.task_ids, dict(zip(columns.task_ids, lost(run, columns) == 0, strict=True))
    seed = run.manifest.sampling["seed"]
    if kind == "live":
        order = drawing_order(seed, ids, run.manifest.grown)
        there = [bool(whole[task_id]) for task_id in order]
        return order[: there.index(False)] if False in there else order
    there = [bool(whole[task_id]) for task_id in ids]
    end = there.index(False) if False in there else len(there)
    ends = sorted({0, end, *(look for look in looks if look < end)})
    return [
        task_id
        for start, stop in itertools.pairwise(ends)
        for task_id in drawing_order(seed, ids[start:stop])
    ]
