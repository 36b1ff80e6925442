"""λ* is a matter of the contract: the same whether a tokenizer writes blanks as tokens of their own."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from harness.cli.cliff import cliff
from harness.cliff import lambda_star
from tests.checkpoints.planted_bigram import (
    BASE,
    GARBAGE,
    TEACHER,
    PlantedMasses,
    Row,
    write_planted,
    write_tasks,
)

pytestmark = pytest.mark.model

C = 5.0
TAB = "ĉ"  # as byte-level vocabularies write it


class Ordered(PlantedMasses):
    """The first id is 1 and the second 2, so that the masses of all ids are the planted ones."""

    def rows(self) -> dict[str, Row]:
        rows = super().rows()
        first = {"1": self.first_id, GARBAGE: 1.0 - self.first_id}
        second = {" 2": self.second_id_each, GARBAGE: 1.0 - self.second_id_each}
        return rows | {"[": first, " [": first, ",": second}


class Blanked(Ordered):
    """The same masses; commas come after a tab, and second ids after a blank, each a token of its own."""

    def rows(self) -> dict[str, Row]:
        rows = super().rows()
        return rows | {"1": {TAB: 1.0}, TAB: rows["1"], ",": {" ": 1.0}, " ": rows[","]}


def planted(kind: type[Ordered], masses: PlantedMasses, **changes: float) -> Ordered:
    return kind(**{one.name: getattr(masses, one.name) for one in fields(masses)} | changes)


def measured(folder: Path, teacher: PlantedMasses, base: PlantedMasses) -> dict[str, Any]:
    """`cliff.json` of planted checkpoints."""
    folder.mkdir()
    write_planted(folder / "teacher", teacher)
    write_planted(folder / "base", base)
    write_tasks(folder / "tasks.jsonl", 40)
    # Rollouts of the teacher, so that all of them get to the end of an answer.
    given = ["--teacher", str(folder / "teacher"), "--base", str(folder / "base"), "--engine", "hf"]
    given += ["--student", str(folder / "teacher"), "--device", "cpu", "--max-tokens", "16"]
    given += ["--data", str(folder / "tasks.jsonl"), "--lambda", "1.1", "--clip", str(C)]
    cliff.main([*given, "--out", str(folder / "run")], prog_name="harness cliff", standalone_mode=False)
    found: dict[str, Any] = json.loads((folder / "run" / "cliff.json").read_bytes())
    return found


def test_the_same_model_with_and_without_blanks(tmp_path: Path) -> None:
    # The paper's tail at every comma and id.
    own = {"first_id": 0.99934, "second_id_each": 0.99934, "separator": 0.99934}
    other = dict.fromkeys(own, 0.7)
    plain, spaced = (
        measured(tmp_path / kind.__name__, planted(kind, TEACHER, **own), planted(kind, BASE, **other))
        for kind in (Ordered, Blanked)
    )
    assert [token["text"] for token in plain["strip"]].count("\t") == 0
    assert [token["text"] for token in spaced["strip"]].count("\t") == 1
    # Whole answers go other ways (`":` or `"` and `:`), which is chance.
    for calibration, chance in (("role", 1e-6), ("position", 1e-6), ("sequence", 1e-3)):
        ours, theirs = (found["estimate"][calibration]["roles"] for found in (plain, spaced))
        for one, two in zip(ours, theirs, strict=True):
            assert (one["role"], one["lambda_star"]["status"]) == (two["role"], two["lambda_star"]["status"])
            if one["lambda_star"]["value"] is not None:
                assert two["lambda_star"]["value"] == pytest.approx(one["lambda_star"]["value"], rel=chance)
    roles = {one["role"]: one for one in spaced["estimate"]["role"]["roles"]}
    assert roles["separator"]["n_positions"] == 40
    for name in ("separator", "unused_id"):
        half = roles[name]["lambda_star_half"]["value"]
        # The paper's marker, 1.2200; a mean over tokens gives 1.201 for the comma.
        assert half == pytest.approx(lambda_star(0.99934, 0.5, C), abs=1e-5)
