"""Engines turn prompts into text; each lives in one module that alone imports its library."""

from harness.engines.base import (
    Capabilities,
    Engine,
    EngineInfo,
    Generation,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    TokenScores,
)
from harness.engines.choose import IN_MEMORY, OF_TWO, choose_common_engine, choose_engine, open_engine
from harness.engines.config import EngineConfig

__all__ = [
    "IN_MEMORY",
    "OF_TWO",
    "Capabilities",
    "Engine",
    "EngineConfig",
    "EngineInfo",
    "Generation",
    "GenerationRequest",
    "SamplingParams",
    "ScoreRequest",
    "TokenScores",
    "choose_common_engine",
    "choose_engine",
    "open_engine",
]
