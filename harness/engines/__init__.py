"""Engines turn prompts into text; each lives in one module that alone imports its library."""

from harness.engines.base import (
    Engine,
    EngineInfo,
    Generation,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    TokenScores,
)

__all__ = [
    "Engine",
    "EngineInfo",
    "Generation",
    "GenerationRequest",
    "SamplingParams",
    "ScoreRequest",
    "TokenScores",
]
