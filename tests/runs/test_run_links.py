"""A file of a run that is a link to nothing isn't one that was never there."""

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.gate import Policy, decide
from harness.runs import load
from tests.gate.gate_runs import answers, make_run

RULES = ("parse_validity.strict >= 0.5", "cliff.verdict in [left]")


@pytest.mark.parametrize("name", ["manifest.json", "metrics.json", "gate.json", "cliff.json"])
def test_a_link_to_nothing_is_unreadable_and_not_written_through(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, answers(18)(20, 1)).path
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(DataError, match=f"{name} can't be read .*a link to a file that isn't there"):
        decide(load(run), Policy(rules=RULES if name == "cliff.json" else RULES[:1]))
    assert not (tmp_path / "elsewhere.json").exists()
