"""Three tiny checkpoints of one family, and the configuration most tests of distillation share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.data.fashion_mini import generate_tasks
from harness.data.writing import write_tasks
from harness.opd.config import OPDConfig, opd_optimisation

TASKS = 16
BATCH = 8


def write_family(folder: Path) -> dict[str, Path]:
    """A base that has just begun to keep the contract, a teacher further on, and the tasks they know."""
    from harness.opd.config import SFTConfig
    from harness.opd.optimisation import Optimisation
    from harness.opd.sft.job import train_sft
    from tools.zoo.recipe import family_tokenizer
    from tools.zoo.tiny import write_untrained_checkpoint

    rows = folder / "rows.jsonl"
    write_tasks(rows, generate_tasks("train", TASKS, seed=8, k=(3, 3)))
    start = write_untrained_checkpoint(folder / "untrained", "small", family_tokenizer(), 0)
    places = {"rows": rows, "untrained": start}
    for name, steps in (("base", 30), ("teacher", 80)):
        settings = Optimisation(steps=steps, batch_size=4, learning_rate=2e-3, warmup_steps=5, seed=1)
        places[name] = train_sft(
            SFTConfig(
                checkpoint=str(start), out=folder / name, optimisation=settings, data=str(rows), split=None
            )
        )
    return places


def write_forecast(family: dict[str, Path], folder: Path, **changes: Any) -> Path:
    """A forecast that shows λ = 8 to hold a bar of .2: such a base makes its target no worse."""
    from harness.engines import EngineConfig
    from harness.evaluate import EvalConfig
    from harness.forecast import ForecastConfig, forecast

    evaluation = EvalConfig(
        engine=EngineConfig(device="cpu", batch_size=2 * TASKS),
        data=str(family["rows"]),
        split=None,
        samples=2,
        temperature=1.0,
        max_tokens=24,
    )
    told = {"teacher": str(family["teacher"]), "base": str(family["base"]), "lambdas": (8.0,), "bar": 0.2}
    forecast(ForecastConfig(evaluation=evaluation, out=folder, **told | changes))
    return folder


def family_config(family: dict[str, Path], out: Path, **changes: Any) -> OPDConfig:
    """Six steps of eight fixed rollouts, four prompts by two samples; any field may be changed."""
    config = OPDConfig(
        teacher=str(family["teacher"]),
        base=str(family["base"]),
        out=out,
        lam=1.2,
        clip=1.5,
        data=str(family["rows"]),
        split=None,
        optimisation=opd_optimisation(steps=6, batch_size=BATCH, learning_rate=5e-4),
        staleness="fixed",
        rollout_batch=2 * BATCH,
        samples=2,
        max_tokens=24,
        checkpoint_every=2,
        log_every=2,
    )
    return config.changed(**changes)
