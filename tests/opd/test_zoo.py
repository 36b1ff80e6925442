"""The shipped checkpoints: found by name, whole, as their cards say, and alike where they must be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import demo
from harness.engines.checkpoint import find_checkpoint, find_tokenizer, is_adapter
from harness.engines.zoo import resolved, zoo_names, zoo_root
from harness.errors import DataError, HarnessError
from harness.opd.config import OPDConfig
from harness.stats import Estimate
from tools.zoo.card import (
    COMPARED,
    MemberRecord,
    described_recipe,
    differences,
    evaluate_member,
    read_record,
    render_card,
    weights_sha256,
    write_record,
)
from tools.zoo.members import MEMBERS, SHIPPED

MOST_BYTES = 12_000_000
SOME_TASKS = 64


def test_the_zoo_holds_what_the_recipes_make() -> None:
    assert set(zoo_names()) == set(MEMBERS)


def test_the_demo_says_how_its_student_was_trained() -> None:
    recipe = MEMBERS[demo.STUDENT].recipe
    assert isinstance(recipe, OPDConfig)
    assert (recipe.lam, recipe.clip) == (demo.LAMBDA, demo.CLIP)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_name_stands_for_a_whole_checkpoint(name: str) -> None:
    checkpoint = find_checkpoint(f"zoo:{name}")
    assert checkpoint.name == f"zoo:{name}"
    assert {file.name for file in checkpoint.path.iterdir()} == {*SHIPPED, "train.json", "README.md"}
    assert checkpoint.config["architectures"] == ["Qwen3ForCausalLM"]
    assert checkpoint.config["head_dim"] == 64
    assert checkpoint.dtype == "float32"
    assert checkpoint.context_length == 1024
    assert checkpoint.stop_token_ids
    assert find_tokenizer(f"zoo:{name}") == checkpoint.path
    assert not is_adapter(f"zoo:{name}")


def test_all_members_read_and_write_the_same_tokens() -> None:
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert len({(zoo_root() / name / file).read_bytes() for name in MEMBERS}) == 1


def test_the_zoo_fits_into_twelve_megabytes_and_is_data_alone() -> None:
    files = [file for file in zoo_root().rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    assert not [file for file in files if file.suffix == ".py"]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_card_says_what_lies_beside_it(name: str) -> None:
    folder = zoo_root() / name
    record = read_record(folder)
    assert record.weights_sha256 == weights_sha256(folder)
    assert record.parameters == find_checkpoint(str(folder)).parameters
    assert record.recipe == described_recipe(name)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card == render_card(record)
    assert record.weights_sha256 in card
    assert re.search(rf"^    python benchmarks/zoo\.py {name}$", card, re.MULTILINE)


def test_the_members_are_what_they_are_for() -> None:
    found = {name: read_record(zoo_root() / name).greedy for name in MEMBERS}
    strict = {name: metrics["parse_validity.strict"].estimate or 0.0 for name, metrics in found.items()}
    assert strict["teacher"] >= 0.95
    assert strict["listopd"] >= 0.95
    assert strict["listopd"] > strict["base"] + 0.1
    assert 0.30 <= strict["base"] <= 0.80
    assert strict["collapsed"] <= strict["base"] / 2
    for name in MEMBERS:
        ndcg, chance = found[name]["ndcg_at_1.parsed"], found[name]["ndcg_at_1.chance"]
        assert (ndcg.low or 0.0) > (chance.high or 1.0)


@pytest.mark.model
@pytest.mark.parametrize("name", ["teacher", "listopd"])
def test_a_card_holds_on_this_machine(name: str) -> None:
    card = read_record(zoo_root() / name).greedy
    here = evaluate_member(resolved(f"zoo:{name}"), temperature=0.0, limit=SOME_TASKS)
    for metric in COMPARED:
        low, high, expected = here[metric].low, here[metric].high, card[metric].estimate
        assert low is not None
        assert high is not None
        assert expected is not None
        assert low <= expected <= high, metric


@pytest.mark.parametrize("name", ["zoo:nobody", "zoo:", "zoo:../zoo/base", "zoo:base/"])
def test_an_unknown_name_is_one_line_with_the_known_ones(name: str) -> None:
    with pytest.raises(HarnessError, match="the zoo has ") as error:
        find_checkpoint(name)
    assert "\n" not in str(error.value)
    assert all(f"zoo:{known}" in str(error.value) for known in zoo_names())


def test_the_command_line_says_it_in_one_line() -> None:
    command = [sys.executable, "-m", "harness", "eval", "--ckpt", "zoo:nobody", "--engine", "hf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert " ".join(done.stderr.split()).startswith(
        "harness: error: there is no zoo:nobody; the zoo has zoo:base"
    )
    assert done.stderr.count("error") == 1


def test_a_folder_or_hub_id_is_left_as_it_is(tmp_path: Path) -> None:
    assert resolved(str(tmp_path)) == tmp_path
    assert resolved("owner/zoo") == Path("owner/zoo")
    assert resolved("~/x") == Path.home() / "x"


def record(strict: float, ndcg: float | None, **other_seeds: dict[str, float | None]) -> MemberRecord:
    def around(value: float | None) -> Estimate:
        low, high = (None, None) if value is None else (value - 0.04, value + 0.02)
        return Estimate(0 if value is None else 512, value, low, high, "wilson")

    metrics = {"parse_validity.strict": around(strict), "ndcg_at_1.parsed": around(ndcg)}
    return MemberRecord(
        name="teacher",
        command="make",
        recipe={"seed": 0},
        weights_sha256="0" * 64,
        parameters=1,
        seconds=1.0,
        machine="abacus",
        packages={"torch": "2"},
        greedy=metrics,
        sampled=metrics,
        other_seeds=other_seeds,
    )


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    written = record(0.5, None, **{"1": {"parse_validity.strict": 0.4, "ndcg_at_1.parsed": None}})
    write_record(tmp_path, written)
    assert read_record(tmp_path) == written
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(DataError, match="is not a zoo member's record"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("strict", "ndcg", "misses"),
    [
        (0.50, 0.60, []),
        (0.52, 0.58, []),
        (0.54, 0.60, ["parse_validity.strict"]),
        (0.36, 0.60, ["parse_validity.strict"]),
        (0.38, 0.60, []),
        (0.50, 0.56, ["ndcg_at_1.parsed"]),
        (0.50, None, ["ndcg_at_1.parsed"]),
    ],
)
def test_a_rebuilt_member_may_differ_by_the_noise_of_the_seed(
    strict: float, ndcg: float | None, misses: list[str]
) -> None:
    shipped = record(0.5, 0.6, **{"1": {"parse_validity.strict": 0.4, "ndcg_at_1.parsed": 0.61}})
    assert [line.split()[0] for line in differences(shipped, record(strict, ndcg))] == misses
