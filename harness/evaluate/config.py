"""Everything a `harness eval` is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.contract import Contract
from harness.engines.config import EngineConfig


class EvalConfig(BaseModel):
    """One evaluation.

    Attributes:
        engine: engine, checkpoint and how to load it.
        data: a bundled dataset's name, a `.jsonl` file or a folder of splits.
        split: which split of a named dataset or folder.
        out: run directory; None derives `runs/<checkpoint>-<data>-<hash>` from the rest, so that the same
            command goes on with the same run.
        limit: evaluate only the first tasks.
        samples: completions per task.
        temperature: ≥ 0; 0 is greedy and gives one completion a task.
        top_p: nucleus mass.
        max_tokens: most completion tokens; None derives it from the largest K.
        seed: base seed of sampling and of the bootstrap.
        constrained: use the engine's structured output.
        contract: the output format asked for.
        k: what K every task must have; None takes each task's own.
        skip_bad_rows: leave bad rows out, counted, instead of refusing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: EngineConfig
    data: str = "fashion-mini"
    split: str | None = None
    out: Path | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    samples: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    constrained: bool = False
    contract: Contract = Contract()
    k: Annotated[int, Field(ge=2, le=64)] | None = None
    skip_bad_rows: bool = False

    @model_validator(mode="after")
    def _greedy_has_one_answer(self) -> EvalConfig:
        if self.samples > 1 and self.temperature == 0 and not self.engine.replays:
            raise ValueError("samples > 1 at temperature 0 draws the same text again; set a temperature")
        return self
