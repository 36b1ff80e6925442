"""Where c comes from: training configurations and logged ratios, good and bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from harness.cliff import ASSUMED, estimate_clip
from harness.engines import EngineConfig
from harness.errors import DataError
from harness.evaluate import EvalConfig
from harness.measure import CliffConfig
from harness.measure.clip_source import read_clip, read_lambda, read_plausible, read_ratios
from harness.measure.ratio_source import find_ratio

CONFIGS: list[tuple[str, dict[str, Any], float, str]] = [
    ("nested", {"config": {"loss": {"clip": 5.0, "lam": 1.2}}}, 5.0, "config.loss.clip"),
    # An OPD run's own clip, whatever other numbers of that name its settings hold.
    ("own manifest", {"kind": "opd", "clip": 5, "lambda": 1.2, "optimisation": {"clip": 1.0}}, 5.0, "clip"),
    ("TRL", {"epsilon": 0.2, "epsilon_high": None, "delta": None, "beta": 0.0}, 1.2, "epsilon"),
    ("TRL, wide above", {"epsilon": 0.2, "epsilon_high": 0.28}, 1.25, "epsilon"),
    ("TRL, two-sided", {"epsilon": 0.9, "delta": 1.5}, 1.5, "delta"),
    ("verl", {"actor": {"clip_ratio": 0.5, "clip_ratio_c": 3.0}}, 1.5, "actor.clip_ratio"),
    # PraMamba/G-OPD's scripts: the weight's cap is the objective's clip, PPO's numbers stand beside it.
    (
        "G-OPD",
        {
            "algorithm": {"rollout_correction": {"rollout_is": "token", "rollout_is_threshold": 5.0}},
            "actor_rollout_ref": {"actor": {"clip_ratio": 0.2, "clip_ratio_c": 3.0}},
        },
        5.0,
        "algorithm.rollout_correction.rollout_is_threshold",
    ),
    (
        "verl, weight off",
        {"clip_ratio": 0.2, "rollout_is": None, "rollout_is_threshold": 2.0},
        1.2,
        "clip_ratio",
    ),
    ("TRL, weight", {"vllm_importance_sampling_clip_max": 3.0}, 3.0, "vllm_importance_sampling_clip_max"),
    (
        "TRL, all",
        {"epsilon": 0.2, "vllm_importance_sampling_clip_max": 3.0},
        1.2,
        "epsilon",
    ),
    ("verl, both sides", {"clip_ratio_low": 0.5, "clip_ratio_high": 0.28}, 1.28, "clip_ratio"),
]


@pytest.mark.parametrize(
    ("config", "c", "key"), [one[1:] for one in CONFIGS], ids=[one[0] for one in CONFIGS]
)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_known_names(tmp_path: Path, config: dict[str, Any], c: float, key: str, suffix: str) -> None:
    file = tmp_path / f"config{suffix}"
    file.write_text(json.dumps(config) if suffix == ".json" else yaml.safe_dump(config))
    found, _ = read_clip(file)
    assert found.c == pytest.approx(c)
    assert found.key == key


def test_a_key_may_be_chosen_and_the_others_are_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"actor": {"clip_ratio": 0.2, "clip_ratio_c": 3.0}}))
    found, others = read_clip(tmp_path)
    assert (found.c, [one.c for one in others]) == (1.2, [3.0])
    assert read_clip(tmp_path, "clip_ratio_c")[0].c == 3.0
    assert read_clip(tmp_path, "actor.clip_ratio_c")[0].key == "actor.clip_ratio_c"


def test_the_manifest_of_an_opd_run_names_its_lambda(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "opd", "lambda": 1.25, "clip": 5.0}))
    assert read_lambda(tmp_path) == 1.25
    other = tmp_path / "other.yaml"
    for content in ("lambda: 1.25", "kind: opd\nlambda: high", "kind: opd", "just text"):
        other.write_text(content)
        assert read_lambda(other) is None


def test_the_manifest_of_an_opd_run_says_where_it_extrapolated(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"plausible": 0.1})
    assert read_plausible(tmp_path) == 0.1
    write_manifest(tmp_path, {})
    assert read_plausible(tmp_path) == 0.0


def test_g_opd_names_its_lambda(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("actor_rollout_ref:\n  actor:\n    policy_loss:\n      lambda_vals: 1.25\n")
    assert read_lambda(file) == 1.25
    file.write_text("policy_loss:\n  lambda_vals: [1.0, 1.25]\n")
    assert read_lambda(file) is None


@pytest.mark.parametrize(
    ("changes", "to", "edge"),
    [
        ({}, "student", None),
        ({"ratio": "student/teacher"}, "teacher", "teacher"),
        ({"staleness": "fixed"}, "base", "base"),
        ({"staleness": "fixed", "clip_sides": "upper"}, "base", None),
        ({"staleness": "fixed", "ratio_gradient": "differentiated"}, "base", None),
    ],
)
def test_the_manifest_of_an_opd_run_says_its_ratio(
    tmp_path: Path, changes: dict[str, Any], to: str, edge: str | None
) -> None:
    write_manifest(tmp_path, changes)
    found, source = find_ratio(asked(clip_from=tmp_path))
    assert (found.to, found.edge) == (to, edge)
    assert str(tmp_path) in source


def test_fixed_rollouts_are_of_the_student_a_run_began_with(tmp_path: Path) -> None:
    drawn = {}
    for name, student, rollouts in (
        ("base", "b", None),
        ("teacher", "t", None),
        ("third", "s", None),
        ("stored", "b", {"path": "elsewhere", "sha256": "x"}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        write_manifest(folder, {"staleness": "fixed"}, student=student, rollouts=rollouts)
        drawn[name] = find_ratio(asked(clip_from=folder))[0].drawn
    assert drawn == {"base": "base", "teacher": "teacher", "third": "other", "stored": "other"}


def test_a_ratio_is_given_assumed_or_that_of_other_trainers(tmp_path: Path) -> None:
    assert find_ratio(asked(clip=5.0)) == (ASSUMED, "assumed to be taken to the teacher, as λ* does")
    for name in ("teacher", "base", "student", "none"):
        found, source = find_ratio(asked(clip=5.0, ratio_to=name))
        assert source == "given"
        assert found.edge == (name if name in ("teacher", "base") else None)
    file = tmp_path / "trl.yaml"
    file.write_text("epsilon: 0.2\n")
    assert find_ratio(asked(clip_from=file))[0].edge is None
    write_manifest(tmp_path, {"staleness": "stale"})
    with pytest.raises(DataError, match="doesn't say what its ratio is"):
        find_ratio(asked(clip_from=tmp_path))


def write_manifest(
    folder: Path, changes: dict[str, Any], student: str = "b", rollouts: dict[str, Any] | None = None
) -> None:
    hashes = {name: {"name": name, "sha256": sha} for name, sha in (("teacher", "t"), ("base", "b"))}
    known = hashes | {"student": {"name": "student", "sha256": student}}
    content = {"kind": "opd", "lambda": 1.2, "clip": 5.0, "options": changes, "rollouts": rollouts}
    (folder / "manifest.json").write_text(json.dumps(content | {"checkpoints": known}))


def asked(**settings: Any) -> CliffConfig:
    evaluation = EvalConfig(engine=EngineConfig(ckpt="zoo:base"))
    return CliffConfig(evaluation=evaluation, teacher="zoo:teacher", base="zoo:base", lam=1.1, **settings)


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        ("learning_rate: 1.0e-5", None, "names no clip"),
        ("a: [", None, "can't be read as YAML"),
        ("delta: 1.5", None, "names no clip"),
        ("clip: true", None, "names no clip"),
        ("clip: .nan", None, "names no clip"),
        ("x: {c: 2}\ny: {c: 3}", "c", "2 keys named c"),
        ("x: 1", "c", "no number named c"),
        ("just text", None, "names no clip"),
        ("kind: opd\nclip: null\nepsilon: 0.2", None, "trained without a clip"),
        ("kind: opd\nclip: five", None, "is no number"),
    ],
)
def test_bad_configs(tmp_path: Path, content: str, key: str | None, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_clip(file, key)
    assert "\n" not in str(caught.value)


def planted_ratios(c: float, dtype: type) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    return np.clip(np.exp(rng.normal(0, 0.6 * np.log(c), 20_000)), 1 / c, c).astype(dtype)


@pytest.mark.parametrize("c", [1.2, 2.0, 5.0])
def test_a_planted_clip_is_found_exactly_in_both_formats(tmp_path: Path, c: float) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pd.DataFrame({"step": 1, "ratio": planted_ratios(c, np.float32)}).to_parquet(tmp_path / "log.parquet")
    rows = planted_ratios(c, np.float64).reshape(-1, 10)
    (tmp_path / "log.jsonl").write_text("".join(json.dumps({"ratio": list(row)}) + "\n" for row in rows))
    for name in ("log.parquet", "log.jsonl"):
        values, column = read_ratios(tmp_path / name)
        assert column == "ratio"
        assert estimate_clip(values).value == c


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        ('{"ratio": 1.0}\n{"ratio": NaN}\n', None, "1 of 2 values of column ratio are NaN"),
        ('{"ratio": 1.0}\n{"ratio": null}\n', None, "1 of 2 values of column ratio are NaN"),
        ('{"loss": 1.0}\n', None, r"columns: loss\); give `ratio_column=`"),
        ('{"ratio": 1.0, "log_ratio": 0.0}\n', None, "several of the columns"),
        ('{"ratio": 1.0}\n', "rho", "no column rho"),
        ('{"ratio": "high"}\n', None, "something else than numbers"),
        ("[1.0]\n", None, "must be a JSON object"),
        ('{"ratio": \n', None, "can't be read"),
        ("", None, "columns: none"),
    ],
)
def test_bad_ratio_files(tmp_path: Path, content: str, column: str | None, message: str) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_ratios(file, column)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_ratios(tmp_path / "none.jsonl")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="can't be read") as caught:
        read_ratios(tmp_path / "bad.parquet")
    assert "\n" not in str(caught.value)
