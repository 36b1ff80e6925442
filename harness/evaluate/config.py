"""Everything a `harness eval` is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from harness.contract import DEFAULT
from harness.data.choice import ContractChoice, DataName, Limit, PromptConfig, Split
from harness.data.tasks import MAX_CANDIDATES, MIN_CANDIDATES
from harness.engines.config import EngineConfig
from harness.engines.limits import MaxTokens
from harness.settings import Count, Seed, Settings

Temperature = Annotated[
    float, Field(ge=0, description="0 is greedy decoding and gives one completion a task.")
]


class EvalConfig(Settings, title="Evaluation"):
    """One evaluation."""

    engine: EngineConfig
    data: DataName = "fashion-mini"
    split: Split = None
    out: Path | None = None
    """Run directory; by default runs/CHECKPOINT-DATA-HASH, a hash of the settings. The same one goes on where
    it stopped."""
    limit: Limit = None
    samples: Count = 1
    """Completions per task."""
    temperature: Temperature = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus mass."""
    max_tokens: MaxTokens = None
    seed: Seed = 0
    """Base seed of sampling, and of the bootstrap of a judge's agreement."""
    constrained: bool = False
    """Hold the output to the schema by the engine; recorded."""
    contract: ContractChoice = DEFAULT
    prompting: PromptConfig = PromptConfig()
    k: Annotated[int | None, Field(ge=MIN_CANDIDATES, le=MAX_CANDIDATES)] = None
    """Refuse tasks with another number of candidates."""
    skip_bad_rows: bool = False
    """Leave bad dataset rows out, counted, instead of refusing."""

    @model_validator(mode="after")
    def _greedy_has_one_answer(self) -> EvalConfig:
        if self.samples > 1 and self.temperature == 0 and not self.engine.replays:
            raise ValueError("samples > 1 at temperature 0 draws the same text again; set `temperature=`")
        return self
