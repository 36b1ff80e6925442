"""Looks are counted: gating a run that grew spends alpha again, or goes on with a sequential test."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.gate import GateResult, Policy, decide
from harness.gate.looks import spend
from harness.gate.record import earlier_looks, write_record
from harness.runs import Run, load
from harness.runs.drawing import drawing_order
from harness.runs.gate_record import Look, LookKind
from harness.stats import SequentialTest
from tests.gate.gate_runs import BAD, answers, config, good, make_run, write_outputs, write_tasks
from tests.gate.live_runs import live
from tests.gate.stored_runs import copy_of

VALIDITY = "parse_validity.strict >= 0.95"


def look(share: float, kind: LookKind, drawn: str) -> Look:
    return Look("now", 1, drawn, "p", share, kind, "inconclusive")


@given(
    st.lists(
        st.tuples(st.sampled_from(["fixed", "live", "continued"]), st.integers(0, 5), st.booleans()),
        max_size=12,
    ),
    st.sampled_from([None, 1, 2, 5]),
)
def test_all_looks_together_spend_no_more_than_alpha(
    asked: list[tuple[LookKind, int, bool]], planned: int | None
) -> None:
    earlier: list[Look] = []
    for kind, state, whole in asked:
        spending = spend(earlier, str(state), kind, whole=whole, planned=planned)
        assert 0.0 <= spending.share <= 1.0
        assert spending.left >= 0.0
        same = [one for one in earlier if (one.kind, one.drawn_sha256) == (kind, str(state))]
        earlier = [one for one in earlier if one not in same] + [look(spending.share, kind, str(state))]
    fixed = {one.drawn_sha256: one.share for one in earlier if one.kind == "fixed"}
    following = {one.kind: one.share for one in earlier if one.kind != "fixed"}
    assert sum(fixed.values()) + sum(following.values()) <= 1.0 + 1e-9


def test_a_look_at_all_there_is_has_all_of_alpha() -> None:
    assert spend((), "a", "fixed", whole=True).share == 1.0
    assert spend((), "a", "live", whole=False).share == 1.0
    assert spend((), "a", "fixed", whole=False, planned=1).share == 1.0


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
    assert shares == [[0.5], [0.5], [0.5, 0.25], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]
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
    for limit in (60, 100, 200):
        [run] = grown(tmp_path, texts, limit)
        result = gate(run, Policy(looks=2))
        alphas.append(result.alpha)
    assert alphas == pytest.approx([0.025, 0.025, 0.05])  # the last one's intervals alone
    assert [one.share for one in result.looks] == [0.5, 0.5, 0.0]
    assert result.rules[0].p_pass == pytest.approx(0.95**200)
    assert result.verdict == "inconclusive"
    assert any("alpha is used up" in note for note in result.notes)


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
    assert stored.rules[0].p_pass == pytest.approx(drawn.rules[0].p_pass or 0.0)


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
        share = spend(spent, str(more), "fixed", whole=more == 512).share
        spent.append(look(share, "fixed", str(more)))
        least = next(k for k in range(more + 2) if scipy.stats.binom.sf(k - 1, more, bar) <= 0.05 * share)
        passed += sum(weight for k, weight in spread.items() if k >= least)
        states = {k: weight for k, weight in spread.items() if k < least}
    assert 0.02 < passed <= 0.05
