"""Looks are counted: gating a run that grew spends alpha again, or goes on with a sequential test."""

import itertools
import json
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.gate import GateResult, Policy, PolicyError, check, decide
from harness.gate.live import LiveOptions
from harness.gate.looks import spend, weights_unseen
from harness.gate.record import earlier_looks, write_record
from harness.runs import Run, load
from harness.runs.drawing import drawing_order
from harness.runs.gate_record import Look, LookKind
from harness.stats import SequentialTest
from tests.gate.gate_runs import BAD, answers, config, good, make_run, write_outputs, write_tasks
from tests.gate.live_runs import live
from tests.gate.stored_runs import copy_of

VALIDITY = "parse_validity.strict >= 0.95"


ALPHA = 0.05


def look(share: float, kind: LookKind, drawn: str, alpha: float = ALPHA) -> Look:
    return Look("now", 1, drawn, "p", share, share * alpha, kind, "inconclusive")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fixed", "live", "continued"]),
            st.integers(0, 5),
            st.booleans(),
            st.sampled_from([None, 1, 2, 5, 100]),
        ),
        max_size=12,
    )
)
def test_all_looks_together_spend_no_more_than_alpha(
    asked: list[tuple[LookKind, int, bool, int | None]],
) -> None:
    """Whatever the order, the growth and the policies in turn: each state counts with the most it had."""
    earlier: list[Look] = []
    for kind, state, whole, planned in asked:
        spending = spend(earlier, str(state), kind, ALPHA, whole=whole, planned=planned)
        assert 0.0 <= spending.share <= 1.0
        assert spending.left >= 0.0
        earlier.append(look(spending.share, kind, str(state)))
    spent: dict[tuple[str, str], float] = {}
    for one in earlier:
        state = (one.kind, one.drawn_sha256 if one.kind == "fixed" else "")
        spent[state] = max(one.alpha, spent.get(state, 0.0))
    assert sum(spent.values()) <= ALPHA + 1e-9


def test_what_was_spent_is_counted_in_alpha_not_in_shares() -> None:
    """Half of a policy's .4 is more than all of another's .05."""
    assert spend([look(0.5, "fixed", "a", alpha=0.4)], "b", "fixed", 0.05, whole=True).share == 0.0
    assert spend(
        [look(0.5, "fixed", "a", alpha=0.01)], "b", "fixed", 0.05, whole=True
    ).share == pytest.approx(0.9)


def test_a_look_at_all_there_is_has_all_of_alpha() -> None:
    assert spend((), "a", "fixed", ALPHA, whole=True).share == 1.0
    assert spend((), "a", "live", ALPHA, whole=False).share == 1.0
    assert spend((), "a", "fixed", ALPHA, whole=False, planned=1).share == 1.0


def grown(folder: Path, texts: list[list[str]], *limits: int) -> list[Run]:
    """One run directory, evaluated further and further; kept apart by copies."""
    data = write_tasks(folder / "tasks.jsonl", len(texts))
    outputs = write_outputs(folder / "outputs.jsonl", texts)
    return [evaluate_to(data, outputs, folder / "run", limit) for limit in limits]


def evaluate_to(data: Path, outputs: Path, out: Path, limit: int) -> Run:
    from harness.evaluate import evaluate

    return evaluate(config(data, outputs, out, limit=limit))


def gate(run: Run, policy: Policy | None = None, **changes: bool) -> GateResult:
    policy = policy or Policy()
    result = decide(load(run.path), policy, **changes)  # type: ignore[arg-type]
    write_record(run.path, result, policy)
    return result


def test_a_run_that_grew_is_judged_at_what_is_left(tmp_path: Path) -> None:
    texts = answers(196)(200, 1)
    levels, shares = [], []
    for limit in (50, 50, 100, 200, 200):
        [run] = grown(tmp_path, texts, limit)
        result = gate(run)
        levels.append(result.alpha)
        shares.append([one.share for one in result.looks])
    assert levels == pytest.approx([0.025, 0.025, 0.0125, 0.0125, 0.0125])
    assert [
        pytest.approx(one) for one in ([0.5], [0.5], [0.5, 0.25], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25])
    ] == shares
    assert [one.samples for one in earlier_looks(tmp_path / "run")] == [50, 100, 200]


def test_a_partial_look_says_what_it_keeps(tmp_path: Path) -> None:
    [run] = grown(tmp_path, answers(194)(200, 1), 100)
    result = gate(run)
    assert any("`looks: 1` in the policy" in note for note in result.notes)
    assert result.rules[0].more is not None
    assert result.rules[0].more.left == 100
    assert "the dataset has 100 left" in result.rules[0].why


def test_planned_looks_share_alike_and_then_none_is_left(tmp_path: Path) -> None:
    texts = [[good()]] * 200
    alphas = []
    for limit in (60, 100):
        [run] = grown(tmp_path, texts, limit)
        alphas.append(gate(run, Policy(looks=2)).alpha)
    assert alphas == pytest.approx([0.025, 0.025])
    [run] = grown(tmp_path, texts, 200)
    # Whatever an inconclusive gate is counted as: there is nothing that it could rest on.
    for policy in (Policy(looks=2), Policy(), Policy(on_inconclusive="pass")):
        with pytest.raises(PolicyError, match="have used up alpha"):
            gate(run, policy)
    assert gate(run, Policy(looks=2, scope="list")).verdict == "pass"


def test_a_continued_gate_is_one_sequential_test(tmp_path: Path) -> None:
    """Fed with what each look added, in random order, at the whole of alpha however often one looks."""
    texts = answers(390)(400, 1)
    test = SequentialTest(0.95)
    seen = 0
    for limit in (100, 200, 400):
        [run] = grown(tmp_path, texts, limit)
        result = gate(run, continued=limit == 100)
        for task_id in drawing_order(0, [f"t{number}" for number in range(seen, limit)]):
            test.update(float(texts[int(task_id[1:])][0] != BAD))
        seen = limit
        assert result.alpha == 0.05
        assert result.verdict == test.verdict.replace("undecided", "inconclusive")
        assert {one.kind for one in result.looks} == {"continued"}


def test_a_sorted_dataset_passes_nothing(tmp_path: Path) -> None:
    """The easy half comes first: a test that stops at the first sign would be about that half alone."""
    run = make_run(tmp_path, [[good()]] * 200 + [[BAD]] * 200)
    assert gate(run, continued=True).verdict == "fail"


def test_after_a_fixed_look_a_continued_one_has_the_rest(tmp_path: Path) -> None:
    texts = [[good()]] * 200
    [run] = grown(tmp_path, texts, 50)
    gate(run)
    [run] = grown(tmp_path, texts, 100)
    assert gate(run, continued=True).alpha == pytest.approx(0.025)
    [run] = grown(tmp_path, texts, 200)
    assert gate(run).alpha == pytest.approx(0.025)


def test_a_live_gate_goes_on_as_one(tmp_path: Path) -> None:
    data = write_tasks(tmp_path / "tasks.jsonl", 400)
    outputs = write_outputs(tmp_path / "outputs.jsonl", answers(398)(400, 1))
    drawn, run = live(data, outputs, tmp_path / "run")
    write_record(run.path, drawn, Policy())
    assert drawn.verdict == "pass"
    run = evaluate_to(data, outputs, tmp_path / "run", 400)
    stored = gate(run)
    assert stored.verdict == "pass"
    assert [one.kind for one in stored.looks] == ["live", "live"]
    assert drawn.live is not None
    assert drawn.rules[0].p_pass is not None
    assert stored.rules[0].p_pass is not None
    assert stored.rules[0].p_pass <= drawn.rules[0].p_pass
    # The verdict is that of then; the numbers are those of all there is.
    at, estimate = drawn.live.tasks_used, stored.rules[0].estimate
    assert at < 400
    assert estimate is not None
    assert (estimate.n, estimate.estimate) == (400, pytest.approx(398 / 400))
    [note] = [one for one in stored.notes if "that verdict stands" in one]
    assert f"decided after {at} of 400 tasks" in note


def test_a_verdict_stands_beside_what_came_later(tmp_path: Path) -> None:
    """The first tasks drawn are good, all others bad: passed then, and the numbers say what there is now."""
    order = drawing_order(0, [f"t{number}" for number in range(400)])
    early = set(order[:100])
    texts = [[good() if f"t{number}" in early else BAD] for number in range(400)]
    data = write_tasks(tmp_path / "tasks.jsonl", 400)
    outputs = write_outputs(tmp_path / "outputs.jsonl", texts)
    drawn, run = live(data, outputs, tmp_path / "run")
    write_record(run.path, drawn, Policy())
    stored = gate(evaluate_to(data, outputs, tmp_path / "run", 400))
    assert (drawn.verdict, stored.verdict) == ("pass", "pass")
    estimate = stored.rules[0].estimate
    assert estimate is not None
    assert (estimate.n, estimate.estimate) == (400, 0.25)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < 0.25 < estimate.high < 0.5
    assert any("that verdict stands" in note for note in stored.notes)


def test_a_followed_run_says_what_was_not_drawn(tmp_path: Path) -> None:
    data = write_tasks(tmp_path / "tasks.jsonl", 400)
    outputs = write_outputs(tmp_path / "outputs.jsonl", answers(392)(400, 1))
    drawn, run = live(data, outputs, tmp_path / "run", options=LiveOptions(max_tasks=40))
    assert drawn.verdict == "inconclusive"
    write_record(run.path, drawn, Policy())
    result = decide(load(run.path), allow_incomplete=True)
    [rule] = result.rules
    assert rule.more is not None
    assert rule.more.left == 360
    assert "the dataset has 360 left" in rule.why
    assert any(
        "360 tasks aren't there in full yet and are neither counted nor bounded" in note
        for note in result.notes
    )


def test_a_record_that_cannot_be_read_is_no_clean_slate(tmp_path: Path) -> None:
    run = make_run(tmp_path, answers(96)(100, 1))
    (run.path / "gate.json").write_text("{")
    with pytest.raises(DataError, match="earlier looks at this run can't be counted"):
        decide(run)


def test_another_policy_at_the_same_samples_is_the_same_look(tmp_path: Path) -> None:
    [run] = grown(tmp_path, answers(196)(200, 1), 100)
    first = gate(run)
    second = gate(run, Policy(rules=("parse_validity.strict >= 0.9",)))
    assert first.alpha == second.alpha
    assert len(second.looks) == 2


def test_policies_in_turn_give_no_alpha_back(tmp_path: Path) -> None:
    """`looks: k` for the kth size, after each `looks: 100`, whose small share must not replace the large."""
    texts = answers(196)(200, 1)
    spent = 0.0
    for number, limit in enumerate((60, 90, 120), start=1):
        [run] = grown(tmp_path, texts, limit)
        for looks in (number, 100):
            try:
                spent += max(0.0, gate(run, Policy(looks=looks)).looks[-1].alpha) if looks != 100 else 0.0
            except PolicyError:
                continue
    assert spent <= 0.05 + 1e-9


def test_a_live_gate_with_a_larger_limit_goes_on_in_its_order(tmp_path: Path) -> None:
    """What is added comes after what was there; another order would be another test at all of alpha."""
    data = write_tasks(tmp_path / "tasks.jsonl", 200)
    outputs = write_outputs(tmp_path / "outputs.jsonl", answers(190)(200, 1))
    orders = []
    for limit in (60, 100, 200):
        result, run = live(data, outputs, tmp_path / "run", limit=limit)
        write_record(run.path, result, Policy())
        ids = [task.task_id for task in run.tasks()]
        orders.append(drawing_order(0, ids, run.manifest.grown))
    assert orders[1][:60] == orders[0]
    assert orders[2][:100] == orders[1]
    assert run.manifest.grown == (60, 100)
    with pytest.raises(PolicyError, match="a run that grew can't be followed"):
        live(data, outputs, tmp_path / "run", scope="list")


def test_the_pytest_recipe_leaves_its_look(tmp_path: Path) -> None:
    texts = [[good()]] * 200
    [run] = grown(tmp_path, texts, 100)
    check(run.path)
    assert [one.share for one in earlier_looks(run.path)] == [0.5]
    [run] = grown(tmp_path, texts, 200)
    check(run.path, record=False)
    assert len(earlier_looks(run.path)) == 1


def test_weights_that_nobody_sees_are_remarked() -> None:
    class Manifested:
        config: ClassVar = {"engine": {"replay": None}}
        started = "2026-01-01T00:00:00+00:00"

        class engine:  # noqa: N801
            weights_sha256 = None
            checkpoint = "served"

    [note] = weights_unseen(Manifested())  # type: ignore[arg-type]
    assert "begun at 2026-01-01" in note


def test_a_planned_stream_that_nobody_counts_is_remarked(tmp_path: Path) -> None:
    run = make_run(tmp_path, [[good()]] * 100)
    assert any("no stream counts them" in note for note in decide(run, Policy(checkpoints=20)).notes)


def test_looks_survive_in_a_copy(tmp_path: Path) -> None:
    [run] = grown(tmp_path, answers(196)(200, 1), 100)
    gate(run)
    copied = load(copy_of(run, tmp_path / "copy"))
    assert decide(copied).alpha == pytest.approx(0.025)
    stored = json.loads((copied.path / "gate.json").read_text())
    assert [one["kind"] for one in stored["looks"]] == ["fixed"]


def test_following_what_a_gate_advises_keeps_alpha() -> None:
    """Exactly, for a rate just below the bar: three looks at 128, 256 and 512 samples by the shares above."""
    import numpy as np
    import scipy.stats

    true, bar = 0.9499, 0.95
    states = {0: 1.0}
    passed = 0.0
    spent: list[Look] = []
    for n, more in itertools.pairwise((0, 128, 256, 512)):
        added = scipy.stats.binom.pmf(np.arange(more - n + 1), more - n, true)
        spread: dict[int, float] = {}
        for k, weight in states.items():
            for extra, chance in enumerate(added):
                spread[k + extra] = spread.get(k + extra, 0.0) + weight * chance
        share = spend(spent, str(more), "fixed", ALPHA, whole=more == 512).share
        spent.append(look(share, "fixed", str(more)))
        least = next(k for k in range(more + 2) if scipy.stats.binom.sf(k - 1, more, bar) <= 0.05 * share)
        passed += sum(weight for k, weight in spread.items() if k >= least)
        states = {k: weight for k, weight in spread.items() if k < least}
    assert 0.02 < passed <= 0.05
