"""Engines turn prompts into text; each lives in one module that alone imports its library."""

from harness.engines.base import (
    REMARKS,
    Capabilities,
    Engine,
    EngineInfo,
    Generation,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    TokenScores,
    UnansweredError,
)
from harness.engines.choose import IN_MEMORY, OF_TWO, choose_common_engine, choose_engine, open_engine
from harness.engines.config import EngineConfig

__all__ = [
    "IN_MEMORY",
    "OF_TWO",
    "REMARKS",
    "Capabilities",
    "Engine",
    "EngineConfig",
    "EngineInfo",
    "Generation",
    "GenerationRequest",
    "SamplingParams",
    "ScoreRequest",
    "TokenScores",
    "UnansweredError",
    "choose_common_engine",
    "choose_engine",
    "open_engine",
]
