"""Which runs may be compared, and what of them."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RunMismatchError
from harness.gate import PolicyError, decide
from harness.runs import Manifest, Run
from harness.runs.columns import read_columns
from harness.runs.comparability import (
    PROMPT,
    Pairing,
    compare_manifests,
    prompts_of,
    require_same_prompts,
)
from tests.gate.gate_runs import make_run, write_tasks
from tests.gate.stored_runs import TASKS, mixed, policy


def test_a_rule_with_baseline_needs_one(one: Run) -> None:
    with pytest.raises(PolicyError, match="`baseline=RUN`"):
        decide(one, policy("parse_validity.strict >= baseline"))


def test_an_unused_baseline_is_noted(one: Run, two: Run) -> None:
    assert "no rule" in decide(one, policy("parse_validity.strict >= 0.5"), two).notes[0]


def test_a_metric_without_tasks_cannot_be_paired(one: Run, two: Run) -> None:
    with pytest.raises(PolicyError, match="isn't known by task"):
        decide(one, policy("ndcg_at_1.chance >= baseline"), two)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"samples": 2, "temperature": 0.5}, "samples_per_task"),
        ({"max_tokens": 7}, "sampling.max_tokens"),
        ({"contract": {"key": "order"}}, "contract.ranking"),
        ({"limit": 60}, "tasks: 60"),
    ],
)
def test_unlike_runs_are_refused(
    one: Run, folder: Path, data: Path, changes: dict[str, object], field: str
) -> None:
    samples = int(changes.pop("samples", 1))  # type: ignore[call-overload]
    other = make_run(folder / field, mixed(7, samples=samples), data=data, **changes)
    rules = policy("parse_validity.strict >= baseline - 0.5")
    with pytest.raises(RunMismatchError, match=field):
        decide(one, rules, other)
    assert field in decide(one, rules, other, common=True).notes[0]


@pytest.mark.parametrize(
    ("part", "name", "value", "differs"),
    [
        ("", "prompt_version", "other", True),
        ("dataset", "sha256", "other", True),
        ("sampling", "temperature", 0.7, True),
        ("sampling", "top_p", 0.7, True),
        ("sampling", "constrained", True, True),
        ("contract", "ids", "string", True),
        ("contract", "extra_keys", True, True),
        ("engine", "name", "vllm", False),
        ("engine", "version", "9", False),
        ("engine", "tokenizer_sha256", "other", False),
        ("engine", "chat_template_sha256", "only one side knows it", False),
        ("sampling", "seed", 9, False),
        ("engine", "checkpoint", "other", None),
        ("engine", "weights_sha256", "other", None),
    ],
)
def test_which_fields_matter(one: Run, part: str, name: str, value: object, differs: bool | None) -> None:
    """True: not comparable; False: a remark; None: expected to differ."""
    content = json.loads(one.manifest.model_dump_json())
    (content[part] if part else content)[name] = value
    found = compare_manifests(one.manifest, Manifest.model_validate(content))
    assert len(found.differences) == (differs is True)
    assert len(found.remarks) == (differs is False)
    assert all(name in line for line in (*found.differences, *found.remarks))


def test_two_known_chat_templates_must_agree(one: Run) -> None:
    def with_template(sha256: str) -> Manifest:
        engine = one.manifest.engine.model_copy(update={"chat_template_sha256": sha256})
        return one.manifest.model_copy(update={"engine": engine})

    found = compare_manifests(with_template("a"), with_template("b"))
    assert found.differences == ("engine.chat_template_sha256: b → a",)


def test_a_seed_need_not_be_the_same(one: Run, folder: Path, data: Path) -> None:
    other = make_run(folder / "seed", mixed(8), data=data, seed=5)
    result = decide(one, policy("parse_validity.strict >= baseline - 0.5"), other)
    assert any("sampling.seed: 5 → 0" in note for note in result.notes)


def test_only_tasks_with_the_same_content_are_common(one: Run, folder: Path) -> None:
    """The other dataset has 40 of the tasks; ten of them under other titles."""
    lines = (one.path / "tasks.jsonl").read_text().splitlines()[:40]
    lines[:10] = [line.replace("Thing 1", "Something else") for line in lines[:10]]
    other_data = folder / "other.jsonl"
    other_data.write_text("\n".join(lines) + "\n")
    other = make_run(folder / "other", mixed(9, tasks=40), data=other_data)
    rules = policy("parse_validity.strict >= baseline - 0.5")
    with pytest.raises(RunMismatchError, match=r"dataset\.sha256"):
        decide(one, rules, other)
    result = decide(one, rules, other, common=True)
    assert result.rules[0].estimate is not None
    assert result.rules[0].estimate.n == 30
    assert "30 common tasks" in result.notes[0]


def test_no_common_task_is_said(one: Run, folder: Path) -> None:
    other_data = write_tasks(folder / "salted.jsonl", 20, salt=" salted")
    other = make_run(folder / "salted", mixed(10, tasks=20), data=other_data)
    with pytest.raises(RunMismatchError, match="no task in common"):
        decide(one, policy("parse_validity.strict >= baseline"), other, common=True)


@pytest.mark.parametrize(("tokenizer", "engine"), [(None, "replay"), ("same", "hf"), ("same", "vllm")])
def test_other_prompts_are_refused(one: Run, two: Run, tokenizer: str | None, engine: str) -> None:
    """Everything declared agrees, and the rendered prompts of three tasks don't."""

    def known(run: Run, name: str) -> Run:
        changes = {"tokenizer_sha256": tokenizer, "name": name}
        manifest = run.manifest.model_copy(update={"engine": run.manifest.engine.model_copy(update=changes)})
        return replace(run, manifest=manifest)

    mine, theirs = known(one, engine), known(two, "hf" if tokenizer else engine)
    columns = [read_columns(run, (), also=PROMPT) for run in (mine, theirs)]
    asked = [*map(prompts_of, columns)]
    pairing = Pairing(theirs, None, ())
    assert require_same_prompts(pairing, mine.manifest, *asked, common=False) == ()
    ((name, marks),) = columns[1].values.items()
    marks = np.where(np.isin(columns[1].task, [4, 7, 9]), marks + 1.0, marks)
    changed = [asked[0], prompts_of(replace(columns[1], values={name: marks}))]
    with pytest.raises(RunMismatchError, match=f"3 of {TASKS} tasks were asked by other prompts"):
        require_same_prompts(pairing, mine.manifest, *changed, common=False)
    (note,) = require_same_prompts(pairing, mine.manifest, *changed, common=True)
    assert "3 of" in note
    few = Pairing(theirs, frozenset(["t4", "t5"]), ())
    assert "1 of 2 tasks" in require_same_prompts(few, mine.manifest, *changed, common=True)[0]
    other = known(two, "openai")
    if tokenizer is None:
        # Texts against token ids that nobody knows the tokenizer of.
        (note,) = require_same_prompts(Pairing(other, None, ()), mine.manifest, *changed, common=False)
        assert "weren't compared" in note


def test_the_gate_compares_prompts(one: Run, two: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = policy("parse_validity.strict >= baseline - 0.5")
    decide(one, rule, two)
    marks = itertools.count()
    monkeypatch.setitem(PROMPT, "prompt", lambda _: float(next(marks)))
    with pytest.raises(RunMismatchError, match="other prompts"):
        decide(one, rule, two)
    assert any("other prompts" in note for note in decide(one, rule, two, common=True).notes)
