"""Engines turn prompts into text; each lives in one module that alone imports its library."""

from harness.engines.base import (
    ClassLogMasses,
    Engine,
    EngineInfo,
    Generation,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    TokenScores,
)
from harness.engines.choose import choose_engine, open_engine
from harness.engines.config import EngineConfig

__all__ = [
    "ClassLogMasses",
    "Engine",
    "EngineConfig",
    "EngineInfo",
    "Generation",
    "GenerationRequest",
    "SamplingParams",
    "ScoreRequest",
    "TokenScores",
    "choose_engine",
    "open_engine",
]
