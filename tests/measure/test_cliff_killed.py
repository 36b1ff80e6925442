"""`cliff.json` and the metrics made from it are one state, whenever their writer is killed."""

import json
import shutil
from itertools import count
from pathlib import Path

from harness.cliff import CliffResult
from harness.measure.report import CliffReport
from harness.runs import load
from tests.gate.gate_runs import answers, make_run
from tests.killing import killed_at
from tests.report.report_runs import with_cliff


def result_of(run: Path) -> CliffResult:
    return CliffResult.from_dict(json.loads((run / "cliff.json").read_bytes()))


def test_killed_anywhere_a_second_estimate_leaves_no_mixture(tmp_path: Path) -> None:
    earlier, later = (
        with_cliff(make_run(tmp_path / name, answers(20)(40, 1)), lam, seed=seed)
        for seed, (name, lam) in enumerate((("earlier", 1.2), ("later", 1.6)))
    )
    results = [result_of(run.path) for run in (earlier, later)]
    assert results[0].metrics() != results[1].metrics()
    mixed = []
    for point in count():
        run = shutil.copytree(earlier.path, tmp_path / str(point))
        report = CliffReport(
            path=run,
            rollouts=run,
            rollouts_from="student",
            drawn=40,
            strict=0.5,
            clip_source="given",
            result=results[1],
            models=(),
            strip=(),
        )
        if not killed_at(point, lambda report=report: report.write(load(report.path))):  # type: ignore[misc]
            break
        left = {name: one for name, one in load(run).metrics.items() if name.startswith("cliff.")}
        assert left.items() <= result_of(run).metrics().items()
        mixed.append(not left)
        assert load(run).metrics["parse_validity.strict"] == earlier.metrics["parse_validity.strict"]
        report.write(load(run))
        assert load(run).metrics == earlier.metrics | results[1].metrics()
    assert any(mixed)
    assert load(run).metrics == earlier.metrics | results[1].metrics()
