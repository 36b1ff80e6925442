"""What code means survives its form and its place; what it does, doesn't."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from harness.errors import RunMismatchError
from harness.sweep import provenance
from harness.sweep.folder import SweepFolder
from harness.sweep.meaning import meaning
from harness.sweep.prereg.check import check
from harness.sweep.prereg.lock_file import read_lock
from harness.sweep.provenance import ANALYSIS, TRAINING, changed_modules, code_meanings, source_file

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "code_lineage.py"
STORED = SCRIPT.parent / "results" / "cliff-measured"

SOURCE = '''"""A module."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, Field

from harness.stats.intervals import wilson

__all__ = ["Rule", "share"]
LEVEL: float = 0.95


class Rule(BaseModel):
    """A rule."""

    bound: int = Field(3, ge=1, description="the bound")


def share(values: Sequence[float], rule: Rule) -> float:
    """The share."""
    if not values:
        raise ValueError("no values")
    top: float = max(values)  # the largest
    return wilson(math.floor(top), rule.bound, LEVEL).high
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""The share."""', '"""Another docstring."""'),
        ('    """A rule."""\n\n', ""),
        ("  # the largest", "\n    # a comment of its own\n"),
        (
            "wilson(math.floor(top), rule.bound, LEVEL)",
            "wilson(\n        math.floor(top), rule.bound, (LEVEL)\n    )",
        ),
        ("from harness.stats.intervals import", "from harness.elsewhere import"),
        ("from harness.stats.intervals import wilson\n", ""),
        ("import math\n", "import math\nimport os\n"),
        ("    top: float", "    import math\n\n    top: float"),
        ("Sequence[float], rule", "list[float], rule"),
        ("    top: float =", "    top ="),
        ("LEVEL: float", "LEVEL"),
        ('"no values"', '"there are no values; give some"'),
        (', description="the bound"', ""),
        ('["Rule", "share"]', '["share"]'),
    ],
)
def test_form_and_place_are_no_meaning(old: str, new: str) -> None:
    assert SOURCE.count(old) == 1
    assert meaning(SOURCE.replace(old, new)) == meaning(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.95", "0.9"),
        ("not values", "values"),
        ("max(", "min("),
        (".high", ".low"),
        ("ValueError(", "KeyError("),
        ("Field(3, ge=1", "Field(3, ge=0"),
        ("bound: int", "bound: float"),
        ("bound: int", "limit: int"),
        ("import wilson", "import jeffreys as wilson"),
        ("import math\n", "import numpy as math\n"),
        ("values: Sequence[float], rule: Rule", "rule: Rule, values: Sequence[float]"),
        ("LEVEL).high", "LEVEL).high + 0.0"),
    ],
)
def test_what_it_does_is(old: str, new: str) -> None:
    assert SOURCE.count(old) == 1
    assert meaning(SOURCE.replace(old, new)) != meaning(SOURCE)


def test_a_meaning_is_the_same_everywhere_and_for_good() -> None:
    """Locks outlive releases and versions of Python: another hash of the same source breaks them."""
    assert meaning(SOURCE) == "3497ac8f7f26c870a090d5847b90e48da4c503a8a736ec18caddc10b2f2dbb3f"


@pytest.mark.parametrize("module", [*ANALYSIS.values(), *TRAINING.values()])
def test_every_module_that_counts_is_there(module: str) -> None:
    assert source_file(module).is_file()


def test_names_in_records_are_given_once() -> None:
    assert not ANALYSIS.keys() & TRAINING.keys()


@pytest.fixture(scope="module")
def lineage_script():
    spec = importlib.util.spec_from_file_location("code_lineage", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_stored_sweeps_give_the_reports_they_gave(lineage_script, monkeypatch, capsys):
    """Where this fails after a rewriting that changes no result, run the script with --record."""
    monkeypatch.setattr("sys.argv", ["code_lineage.py"])
    assert lineage_script.main() == 0, capsys.readouterr().out


def test_another_result_is_not_recorded_as_equal(lineage_script, monkeypatch, tmp_path):
    copy, lineage = tmp_path / "stored", tmp_path / "lineage.json"
    shutil.copytree(STORED / "mask", copy / "mask")
    shutil.copy(provenance.LINEAGE, lineage)
    report = json.loads((copy / "mask" / "report.json").read_text())
    report["analysis"]["threshold"] *= 1 + 1e-6
    (copy / "mask" / "report.json").write_text(json.dumps(report))
    monkeypatch.setattr(lineage_script, "STORED", copy)
    monkeypatch.setattr(lineage_script, "LINEAGE", lineage)
    monkeypatch.setattr("sys.argv", ["code_lineage.py", "--record"])
    assert lineage_script.main() == 1
    assert lineage.read_bytes() == provenance.LINEAGE.read_bytes()


def edited(monkeypatch, tmp_path, module: str, old: str, new: str) -> None:
    """As if somebody had edited the source of one module."""
    source = source_file(module).read_text()
    assert old in source
    copy = tmp_path / "edited.py"
    copy.write_text(source.replace(old, new))
    monkeypatch.setattr(provenance, "source_file", lambda name: copy if name == module else source_file(name))


def test_a_stored_lock_is_held_to_what_its_code_meant(monkeypatch, tmp_path):
    folder = SweepFolder(STORED / "mask")
    assert read_lock(folder.lock).version == 1
    as_it_was = check(folder).to_dict()
    edited(monkeypatch, tmp_path, ANALYSIS["firth"], "\nimport ", "\n# a typo, mended\nimport ")
    assert check(folder).to_dict() == as_it_was
    edited(monkeypatch, tmp_path, ANALYSIS["firth"], "0.5", "0.25")
    with pytest.raises(RunMismatchError, match=r"analysis code has changed since the lock .*: firth"):
        check(folder)
    told = []
    report = check(folder, told.append).to_dict()
    assert report["allowed_code_changes"] == told
    assert len(told) == 1


def test_files_of_which_nothing_is_known_are_a_change():
    locked = read_lock(STORED / "mask" / "prereg.json")
    other = locked.model_copy(update={"analysis_code": locked.analysis_code | {"stats/onset.py": "0" * 64}})
    assert changed_modules(locked.analysis_meanings(), other.analysis_meanings()) == ["onset"]


def test_a_rewriting_that_was_verified_is_no_change(monkeypatch):
    before = code_meanings(ANALYSIS)
    lineage = {
        "files": {},
        "equal": {"firth": [[before["firth"], "rewritten"], ["other"]], "new": [[None, "n"]]},
    }
    monkeypatch.setattr(provenance, "_lineage", lambda: lineage)
    assert not changed_modules(before, before | {"firth": "rewritten", "new": "n"})
    assert changed_modules(before, before | {"firth": "other"}) == ["firth"]
    assert changed_modules(before, before | {"new": "m"}) == ["new"]
