"""The demonstration: evaluate the bundled checkpoints, estimate λ*, gate, report. A CPU is enough."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.engines.config import EngineConfig, hf_missing
from harness.engines.zoo import PREFIX, resolved
from harness.errors import EngineUnavailableError
from harness.evaluate.config import EvalConfig
from harness.evaluate.job import evaluate
from harness.gate import GateResult, Policy, decide
from harness.gate.record import write_record
from harness.measure import CliffConfig, CliffReport, cliff_of_run
from harness.progress import OnProgress, Progress, ignore
from harness.report import ReportConfig, report, write_document
from harness.runs import Run

DATA, SPLIT, TASKS = "fashion-mini", "test", 128
SHOWN = ("base", "large", "listopd")
"""SFT base, larger SFT baseline, distilled student."""
STUDENT, REFERENCE = "listopd", "large"
LAMBDA, CLIP = 1.1, 5.0
"""λ and clip strength that the student was trained with."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One checkpoint of the demonstration.

    Attributes:
        name: in the zoo.
        run: its evaluation.
        gate: its verdict under the default policy.
    """

    name: str
    run: Run
    gate: GateResult


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demonstration made.

    Attributes:
        shown: the checkpoints.
        cliff: λ* from teacher and base, and on which side of it the student's λ lies.
        lam: λ that the student was trained with.
        clip: its clip strength.
        report: the HTML file.
    """

    shown: tuple[Shown, ...]
    cliff: CliffReport
    lam: float
    clip: float
    report: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        star = self.cliff.result.lambda_star
        return {
            "checkpoints": [
                {
                    "checkpoint": PREFIX + one.name,
                    "run": str(one.run.path),
                    "gate": one.gate.verdict,
                    "metrics": {name: asdict(estimate) for name, estimate in one.run.metrics.items()},
                }
                for one in self.shown
            ],
            "cliff": {
                "student": PREFIX + STUDENT,
                "lambda": self.lam,
                "clip": self.clip,
                "lambda_star": star.value,
                "low": star.low,
                "high": star.high,
                "verdict": self.cliff.result.verdict,
            },
            "report": str(self.report),
        }


def run_demo(out: Path, on_progress: OnProgress = ignore) -> Demo:
    """Evaluate, estimate λ*, gate and report the zoo's checkpoints; a killed call goes on.

    Args:
        out: folder for the runs and `report.html`.
        on_progress: told where it stands.

    Raises:
        EngineUnavailableError: torch or transformers is missing.
        HarnessError: the package came without its zoo, or `out` holds something else.
    """
    missing = hf_missing()
    if missing is not None:
        raise EngineUnavailableError(
            f'the demo needs {missing}; run: pip install "format-safety-harness[cpu]"'
        )
    for name in ("teacher", *SHOWN):
        resolved(PREFIX + name)
    runs = {name: evaluate(_evaluation(name, out / name), _named(name, on_progress)) for name in SHOWN}
    cliff = cliff_of_run(
        CliffConfig(
            evaluation=_evaluation(STUDENT, out / STUDENT),
            teacher=f"{PREFIX}teacher",
            base=f"{PREFIX}base",
            student=f"{PREFIX}{STUDENT}",
            lam=LAMBDA,
            clip=CLIP,
        ),
        runs[STUDENT],
        _named("λ*", on_progress),
    )
    policy = Policy()
    shown = []
    for name, run in runs.items():
        verdict = decide(run, policy, None)
        write_record(run.path, verdict, policy)
        shown.append(Shown(name, run, verdict))
    on_progress(Progress("writing the report"))
    made = report(
        ReportConfig(
            runs=tuple(one.run.path for one in shown), baseline=REFERENCE, title="harness demo: fashion-mini"
        )
    )
    write_document(out / "report.html", made)
    return Demo(tuple(shown), cliff, LAMBDA, CLIP, out / "report.html")


def _evaluation(name: str, out: Path) -> EvalConfig:
    return EvalConfig(
        engine=EngineConfig(engine="hf", ckpt=PREFIX + name, device="cpu"),
        data=DATA,
        split=SPLIT,
        limit=TASKS,
        out=out,
    )


def _named(name: str, on_progress: OnProgress) -> OnProgress:
    def tell(progress: Progress) -> None:
        on_progress(
            Progress(
                f"{name}: {progress.stage}", progress.done, progress.total, progress.resumed, progress.note
            )
        )

    return tell
